"""Processes that stand back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORK = """
import os, sys, time
from pathlib import Path
from configs.background import stand_back
stand_back()
print(os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE, flush=True)
group = Path("/proc/self/autogroup")
print(group.read_text().split()[-1] if group.exists() else 19, flush=True)
{then}
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="sessions are weighed on Linux only")


def start(then: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORK.format(then=then)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


def first_line(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


@linux
class TestStandingBack:
    def test_the_process_and_its_session_have_the_lowest_priority_and_the_caller_keeps_its_own(self):
        """Niceness, scheduler and the weight of the session."""
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        process = start("sys.exit(3)")
        out, _ = process.communicate(timeout=20)
        first, second = out.splitlines()
        assert first.split()[1:] == ["19", "True"]
        assert second == "19"
        assert os.getpriority(os.PRIO_PROCESS, 0) == mine

    @pytest.mark.parametrize(("then", "code"), [("sys.exit(3)", 3), ("", 0), ("os.kill(os.getpid(), 9)", 137)])
    def test_the_exit_code_is_that_of_the_work(self, then, code):
        """As a shell would count a signal."""
        process = start(then)
        process.communicate(timeout=20)
        assert process.returncode == code

    def test_an_interrupt_reaches_the_work(self):
        """It is asked to end, and says how; even where the shell that started all this ignores interrupts."""
        listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        wait = "try:\n    print(flush=True)\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    sys.exit(7)"
        process = start(f"{listen}\n{wait}")
        for _ in range(3):
            first_line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 7

    def test_the_work_does_not_outlive_a_caller_that_is_killed(self):
        """Not even one that had no time to say so."""
        process = start("time.sleep(30)")
        worker = int(first_line(process)[0])
        first_line(process)
        process.kill()
        process.wait(20)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{worker}").exists() and _state(worker) != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
