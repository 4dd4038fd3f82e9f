"""One peer in a process of its own, asked line by line."""

import json
import os
import select
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import Peer, last_words
from benchmarks.peers.worker import Decoded, Job
from configs.errors import PeerError

_ROOT = Path(__file__).resolve().parent.parent.parent
_LOAD_SECONDS, _DECODE_SECONDS = 600.0, 120.0


class PeerProcess:
    """Starts a peer, waits until its models are loaded, and decodes with it.

    Args:
        python: of the peer's environment.
        log: where everything that it prints goes.

    Raises (all methods):
        PeerError: it ended or fell silent; its last words are in the message.
    """

    def __init__(self, peer: Peer, python: Path, job: Job, log: Path):
        self._peer, self._log = peer, log
        threads = str(job.threads)
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            **dict.fromkeys(("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"), "1"),
        }
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", peer.module],
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            self._ask(asdict(job), _LOAD_SECONDS)
        except PeerError:
            self.close()
            raise

    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int | None, copies: bool = False) -> Decoded:
        """See `worker.Engine.decode`."""
        line = {"prompt": prompt, "tokens": tokens, "num_draft_tokens": num_draft_tokens, "copies": copies}
        return Decoded(**self._ask(line, _DECODE_SECONDS))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: dict[str, Any], timeout: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended") from None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise self._failed(f"said nothing for {timeout:g} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise self._failed("ended")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _failed(self, what: str) -> PeerError:
        return PeerError(f"{self._peer.title} {what}", do=f"read {self._log}", facts=last_words(self._log))
