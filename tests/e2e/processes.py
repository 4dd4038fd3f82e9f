"""Servers as bare processes, for tests that end them in every way."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from serving.client import stop
from serving.config import Deployment
from serving.ports import free_port

ROOT = Path(__file__).parents[2]


class Server:
    """One server in a process group of its own."""

    def __init__(self, deployment: Deployment, folder: Path, port: int = 0, module: str = "serving"):
        file = folder / "deployment.yaml"
        file.write_text(deployment.to_yaml())
        self.port = port or free_port()
        self.log = folder / "log"
        command = [sys.executable, "-m", module, str(file), "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self, seconds: float = 120) -> None:
        """Until it answers."""
        end = time.monotonic() + seconds
        with httpx.Client() as client:
            while time.monotonic() < end:
                assert self.process.poll() is None, self.log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"{self.url}/health").json()["free_slots"]:
                        return
                time.sleep(0.1)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def members(self) -> dict[int, str]:
        """Living processes of the group, with their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def worker(self) -> int:
        """Process id of the one that runs the model: the spawned child of the main process."""
        children = [pid for pid, command in self.members().items() if "spawn_main" in command]
        [pid] = [pid for pid in children if _parent(pid) == self.process.pid]
        return pid

    def wait_gone(self, seconds: float = 15) -> dict[int, str]:
        """What is left of the group after at most so long."""
        end = time.monotonic() + seconds
        while (left := self.members()) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


@contextlib.contextmanager
def server(
    deployment: Deployment, folder: Path, port: int = 0, ready: bool = True, module: str = "serving"
) -> Iterator[Server]:
    """A server that is gone after the block, whatever happened in it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Server(deployment, folder, port, module)
    try:
        if ready:
            made.wait_ready()
        yield made
    finally:
        stop(made.process)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
