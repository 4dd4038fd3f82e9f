"""Who writes a run: a lock file that its process holds from before the run exists until after it ended.

The kernel drops the lock when the process dies, however it dies, so a run that is ``RUNNING`` and whose
lock file is there but held by nobody was killed. Runs of other machines have no lock file here and are
never touched.
"""

import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from configs.errors import RegistryError
from registry.location import Location
from registry.locks import attempt, exclusive

OWNER = "polydraft.owner"  # tag of a run: names its lock file
REGISTRATION = "polydraft.registration"  # tag of a run that does nothing but register a version


class Ownership:
    """The right to write one run, held until `release`, or until the process dies."""

    def __init__(self, location: Location, token: str = ""):
        self.token = token or uuid.uuid4().hex
        self.file = lock_of(location, self.token)
        self._held = ExitStack()
        with exclusive(collecting(location)):
            if not self._held.enter_context(attempt(self.file)):
                raise RegistryError("another process is writing this run", do="wait until it ends, or stop it")

    def release(self) -> None:
        """Say that the run has ended."""
        self.file.unlink(missing_ok=True)
        self._held.close()


def lock_of(location: Location, token: str) -> Path:
    """The lock file that the tag `OWNER` of a run names."""
    return location.state / "locks" / "runs" / f"{Path(token).name}.lock"


def collecting(location: Location) -> Path:
    """The lock that whoever takes or judges a run's lock holds meanwhile."""
    return location.state / "locks" / "leftovers.lock"


def is_running(client: Any, run_id: str) -> bool:
    """Whether MLflow says so."""
    return bool(client.get_run(run_id).info.status == "RUNNING")
