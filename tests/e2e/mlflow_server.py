"""A real MLflow server as a process that tests kill and bring back."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from serving.ports import free_port

_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_JOB_EXECUTION": "false"}
_MODULE = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]


class MlflowServer:
    """One server; its database and files outlive it."""

    def __init__(self, folder: Path, store: str = ""):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._store = folder, store or f"sqlite:///{folder}/mlflow.db"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        where = ["--backend-store-uri", self._store, "--artifacts-destination", str(self._folder / "files")]
        command = [*_MODULE, *where, "--host", "127.0.0.1", "--port", str(self.port)]
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **_ENVIRONMENT},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while True:
            assert self._process.poll() is None, (self._folder / "mlflow.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            assert time.monotonic() < end, (self._folder / "mlflow.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """All of it, at once; safe to repeat."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
