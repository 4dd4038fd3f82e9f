"""The prompts that a router was measured on, as embeddings: kept with it, so that the next one is measured on them too.

Texts are not kept. Embeddings are halved in precision, for every router that is measured on them alike.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from configs.errors import RouterError
from router.encoder import Embeddings

FILE = "held_out.safetensors"


@dataclass(frozen=True)
class HeldOut:
    """Prompts that no router of this line has learned from.

    Attributes:
        embeddings: float32 [n, dim].
        groups: topic of each, or ``out_of_scope``.
        fingerprint: of the embedding model.
    """

    embeddings: Embeddings
    groups: tuple[str, ...]
    fingerprint: str


def write_held_out(held_out: HeldOut, folder: Path) -> None:
    """Put them into a router folder, whole or not at all; the same prompts give the same bytes."""
    names = sorted(set(held_out.groups))
    places = {name: place for place, name in enumerate(names)}
    content = save(
        {
            "embeddings": held_out.embeddings.astype(np.float16),
            "groups": np.array([places[group] for group in held_out.groups], dtype=np.int16),
        },
        # safetensors writes the entries of its metadata in any order: one entry has one order.
        metadata={"header": json.dumps({"names": names, "fingerprint": held_out.fingerprint})},
    )
    unfinished = folder / f"{FILE}.part"
    unfinished.write_bytes(content)
    unfinished.replace(folder / FILE)


def read_held_out(folder: Path) -> HeldOut | None:
    """What `write_held_out` wrote; None for routers that came without.

    Raises:
        RouterError: the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    content = file.read_bytes()
    try:
        arrays = load(content)
        header = _header(content)
        groups = tuple(header["names"][place] for place in arrays["groups"])
        found = HeldOut(arrays["embeddings"].astype(np.float32), groups, str(header["fingerprint"]))
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RouterError(f"{file} is damaged: {error}", do="fetch the version again, or train without it") from error
    if len(found.embeddings) != len(groups) or not np.isfinite(found.embeddings).all():
        raise RouterError(f"{file} is damaged: its rows do not fit", do="fetch the version again, or train without it")
    return found


def _header(content: bytes) -> dict[str, Any]:
    """Metadata of a safetensors file, which its numpy reader leaves out."""
    size = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["header"])
    return header
