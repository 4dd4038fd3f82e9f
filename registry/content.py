"""The files of a version: which kinds are taken in, and a digest of what they hold."""

import hashlib
from pathlib import Path

from configs.errors import RegistryError

# Formats that run code when they are loaded.
_REFUSED = {".bin", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".py", ".skops"}


def content_digest(folder: Path) -> str:
    """SHA-256 over the relative paths and bytes of all files in ``folder``.

    Raises:
        RegistryError: there are no files, or one of a kind that could run code when loaded.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise RegistryError(f"{folder} holds no files to register", do="name the folder of a finished model")
    whole = hashlib.sha256()
    for path in files:
        if path.suffix in _REFUSED:
            raise RegistryError(
                f"{path} could run code when loaded; versions hold data only",
                do="save weights as safetensors and everything else as JSON",
            )
        with path.open("rb") as file:
            part = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()} {part}\n".encode())
    return whole.hexdigest()
