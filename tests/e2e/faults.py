"""`python -m tests.e2e.faults`: how long it takes until all is normal after each fault of docs/operate.md.

Runs `tests/e2e/test_faults.py`, whose tests measure it: from the fault on, or from when somebody has mended it.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest


class Watch:
    """Collects what the tests say of themselves."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of tests that passed."""
        if report.when == "call" and report.passed:
            for fault, seconds in report.user_properties:
                if isinstance(seconds, float):
                    self.seconds[fault].append(seconds)


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0 if all tests passed, else pytest's."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(words).repeats
    watch, file = Watch(), Path(__file__).with_name("test_faults.py")
    for _ in range(repeats):
        if code := pytest.main(["-q", "--no-header", str(file)], plugins=[watch]):
            return int(code)
    print(f"| fault | seconds until normal, median of {repeats} (least to most) |\n|---|---|")  # noqa: T201
    for fault, seconds in watch.seconds.items():
        print(f"| {fault} | {median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) |")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
