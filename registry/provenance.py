"""Where a run came from and what it cost the machine: the revision of the code, the command, the load."""

import os
import resource
import shutil
import subprocess
import sys
import time
from functools import cache
from itertools import takewhile
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


@cache
def revision() -> str | None:
    """The commit of the code, ``+`` after it if files differ from it; None outside a git checkout."""
    git = shutil.which("git")
    if git is None or not (_ROOT / ".git").exists():
        return None
    command = [git, "-C", str(_ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (subprocess.SubprocessError, OSError):
        return None
    return found.stdout.strip() or None


def source_tags() -> dict[str, str]:
    """Tags of a run that say what made it; the ``mlflow.`` ones fill the columns of MLflow's own pages."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": _command()}
    if commit := revision():
        tags |= {"git": commit, "mlflow.source.git.commit": commit.removesuffix("+")}
    return tags


def _command() -> str:
    """The program and its subcommands, as in ``polydraft distill``; options and paths say nothing here."""
    program, *words = sys.argv if sys.argv and sys.argv[0] else ["python"]
    return " ".join([Path(program).name, *takewhile(str.isalpha, words)])


class SystemMetrics:
    """Processor and memory use of this process and the load of its machine, every ``interval`` seconds.

    MLflow's own monitor needs psutil and a thread; this one is asked whenever figures are logged anyway.
    """

    def __init__(self, interval: float = 10.0):
        self.interval = interval
        self.wall, self.processor = time.monotonic(), time.process_time()

    def due(self) -> dict[str, float]:
        """Figures since the last ones, or nothing while the interval lasts."""
        wall, processor = time.monotonic(), time.process_time()
        elapsed = wall - self.wall
        if elapsed < self.interval or elapsed <= 0:
            return {}
        percent = 100 * (processor - self.processor) / elapsed
        self.wall, self.processor = wall, processor
        # Linux counts the peak in KiB, macOS in bytes.
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        return {
            "system/cpu_percent_of_one_core": percent,
            "system/peak_memory_mebibytes": peak,
            "system/load_average_1m": os.getloadavg()[0],
        }
