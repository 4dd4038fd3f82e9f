"""Makes the environment of each peer, once: ``python -m benchmarks.peers.environments`` makes them all."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from configs.console import hint
from configs.errors import PeerError

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".envs"
_LAST_WORDS = 3  # lines of a log that an error repeats


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine to compare with.

    Attributes:
        title: what its makers call it.
        package: whose version names it.
        removed: packages that its requirements bring along and that break it.
        can_copy: it can propose from the text, without a draft model.
        has_own_length: it has a rule of its own for how much a draft proposes.
    """

    name: str
    title: str
    package: str
    removed: tuple[str, ...] = ()
    can_copy: bool = False
    has_own_length: bool = False

    @property
    def module(self) -> str:
        """Its side of the conversation."""
        return f"benchmarks.peers.{self.name}_peer"

    @property
    def requirements(self) -> Path:
        """Pinned versions of everything in its environment."""
        return HERE / "requirements" / f"{self.name}.txt"

    @property
    def version(self) -> str:
        """The pinned version of ``package``."""
        pins = dict(line.split("==") for line in self.requirements.read_text().split())
        return pins[self.package]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("transformers", "transformers assisted generation", "transformers", can_copy=True, has_own_length=True),
        # Built for another torch, and imported by transformers wherever it is found.
        Peer(
            "openvino",
            "OpenVINO GenAI",
            "openvino-genai",
            removed=("torchvision",),
            can_copy=True,
            has_own_length=True,
        ),
        Peer("llamacpp", "llama.cpp", "xllamacpp", can_copy=True),
        Peer("mlx", "mlx-lm", "mlx-lm"),
    )
}


def prepare(peer: Peer, folder: Path = ENVIRONMENTS, requirements: Path | None = None) -> Path:
    """The Python of a peer's environment, which is made if it is not there or was made for other requirements.

    Args:
        folder: of all environments.
        requirements: in place of the peer's own.

    Raises:
        PeerError: it cannot be installed here; pip's last words are in the message.
    """
    requirements = requirements or peer.requirements
    environment = folder / peer.name
    python, ready = environment / "bin" / "python", environment / ".ready"
    if ready.is_file() and ready.read_text() == requirements.read_text():
        return python
    shutil.rmtree(environment, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    hint(f"Installing {peer.title} into {environment}: minutes, once")
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    steps = [
        [sys.executable, "-m", "venv", str(environment)],
        [*pip, "install", "--requirement", str(requirements)],
        *([[*pip, "uninstall", "--yes", *peer.removed]] if peer.removed else []),
    ]
    log = folder / f"{peer.name}.log"
    with log.open("w") as file:
        for step in steps:
            if subprocess.run(step, stdout=file, stderr=file, check=False).returncode:
                break
        else:
            ready.write_text(requirements.read_text())
            return python
    raise PeerError(f"{peer.title} cannot be installed here", do=f"read {log}", facts=last_words(log))


def last_words(log: Path) -> tuple[str, ...]:
    """The end of a log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return tuple(lines[-_LAST_WORDS:])


if __name__ == "__main__":
    for each in PEERS.values():
        try:
            prepare(each)
        except PeerError as error:
            hint(f"error: {error}")
