"""A real server for as long as a ``with`` block lasts: for the demo, benchmarks and tests."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import httpx

from configs.errors import ServerError
from serving.config import Deployment
from serving.ports import free_port

_POLL_SECONDS = 0.1
_STOP_SECONDS = 20.0
_ROOT = Path(__file__).resolve().parent.parent

Progress = Callable[[str, float], None]  # what is waited for, and for how many seconds so far


@contextlib.contextmanager
def running_server(
    deployment: Deployment | Path | str,
    port: int = 0,
    timeout: float = 120.0,
    progress: Progress | None = None,
    require_router: bool = True,
) -> Iterator[str]:
    """Start a server in a session of its own, wait until it is ready, and stop all of it in the end.

    Args:
        deployment: a deployment, or the file of one.
        port: 0 takes a free one.
        require_router: wait for the router too, not only for the model.

    Yields:
        The base URL, such as ``http://127.0.0.1:8000``.

    Raises:
        ServerError: it ended or was not ready in time; its last words are in the message.
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="polydraft-") as folder, (Path(folder) / "log").open("w+b") as log:
        process = _start(_config_file(deployment, Path(folder)), port, log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log, timeout, progress, require_router)
            yield url
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server gently, then whatever is left of its process group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _start(config: Path, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    address = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "serving", str(config), *address, "--with-parent"]
    # Its folder is the repository, so that the rooms import; relative paths were made absolute before.
    return subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True)


def _config_file(deployment: Deployment | Path | str, folder: Path) -> Path:
    if not isinstance(deployment, Deployment):
        return Path(deployment).absolute()
    file = folder / "deployment.yaml"
    file.write_text(deployment.to_yaml(), encoding="utf-8")
    return file


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    url: str,
    log: IO[bytes],
    timeout: float,
    progress: Progress | None,
    require_router: bool,
) -> None:
    began = time.monotonic()
    waiting_for = "the model"
    with httpx.Client(timeout=5) as client:  # one for all polls: making one costs more than the poll
        while (waited := time.monotonic() - began) < timeout:
            if process.poll() is not None:
                raise ServerError(f"the server ended with code {process.returncode}", facts=_last_words(log))
            with contextlib.suppress(httpx.TransportError):
                health = client.get(f"{url}/health").json()
                is_up = health["status"] in ("ready", "degraded") or (
                    not require_router and health["router"] == "starting"
                )
                if is_up and health["free_slots"]:
                    return
                waiting_for = "; ".join(health["reasons"])
            if progress is not None:
                progress(waiting_for, waited)
            time.sleep(_POLL_SECONDS)
    raise ServerError(f"the server was not ready within {timeout:g} s: {waiting_for}", facts=_last_words(log))


def _last_words(log: IO[bytes]) -> tuple[str, ...]:
    log.seek(0)
    return tuple(log.read().decode(errors="replace").splitlines()[-5:])
