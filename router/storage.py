"""A router folder: ``router.json`` (names, thresholds, figures) and ``router.safetensors`` (arrays). No pickle.

Reading checks everything that routing relies on, so that a damaged file is refused at once and not at the first query.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from configs.errors import RouterError
from router.classifier import TopicClassifier
from router.gate import ScopeGate
from router.kinds import KINDS, RouterKind

FORMAT = 1
HEADER, ARRAYS = "router.json", "router.safetensors"
_KIND = "kind."  # before the names of the arrays of a kind that chooses by cost
_RETRAIN = "train the router again, or point router.model at another folder"


class Header(BaseModel):
    """The contents of ``router.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    topics: tuple[str, ...] = Field(min_length=2)
    embedding: str
    fingerprint: str
    dim: int = Field(ge=1)
    temperature: float = Field(gt=0, allow_inf_nan=False)
    min_confidence: float = Field(ge=0, le=1)
    min_in_scope: float = Field(ge=0, le=1)
    scope_bias: float = Field(allow_inf_nan=False)
    max_distance: float = Field(gt=0, allow_inf_nan=False)
    figures: dict[str, float] = {}
    kind: str = ""
    drafts: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredRouter:
    """What a router folder holds: everything but the encoder. ``kind`` chooses drafts by cost; None goes by topic."""

    embedding: str
    fingerprint: str
    classifier: TopicClassifier
    gate: ScopeGate
    min_confidence: float
    figures: dict[str, float]
    kind: RouterKind | None = None


def write_router(router: StoredRouter, folder: Path) -> None:
    """Write a router folder; each file is replaced as a whole."""
    classifier, gate, kind = router.classifier, router.gate, router.kind
    header = Header(
        format=FORMAT,
        topics=classifier.topics,
        embedding=router.embedding,
        fingerprint=router.fingerprint,
        dim=classifier.weights.shape[1],
        temperature=classifier.temperature,
        min_confidence=router.min_confidence,
        min_in_scope=gate.threshold,
        scope_bias=gate.bias,
        max_distance=gate.max_distance,
        figures=router.figures,
        kind=kind.name if kind is not None else "",
        drafts=kind.menu.drafts if kind is not None else (),
    )
    arrays = {
        "weights": classifier.weights,
        "bias": classifier.bias,
        "scope_weights": gate.weights,
        "means": gate.means,
        "whitening": gate.whitening,
    }
    if kind is not None:
        arrays |= {_KIND + name: array for name, array in kind.to_arrays().items()}
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / ARRAYS, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    unsaid = None if kind is not None else {"kind", "drafts"}
    _replace(folder / HEADER, (json.dumps(header.model_dump(exclude=unsaid), indent=1) + "\n").encode())


def read_router(folder: Path) -> StoredRouter:
    """Read and check a router folder.

    Raises:
        RouterError: a file is missing, damaged, of another format, or holds arrays that do not fit together.
    """
    header = _read_header(folder / HEADER)
    arrays = _read_arrays(folder / ARRAYS, len(header.topics), header.dim)
    kind = _read_kind(folder / ARRAYS, header, arrays) if header.kind else None
    gate = ScopeGate(
        arrays["scope_weights"],
        header.scope_bias,
        header.min_in_scope,
        arrays["means"],
        arrays["whitening"],
        header.max_distance,
    )
    classifier = TopicClassifier(header.topics, arrays["weights"], arrays["bias"], header.temperature)
    return StoredRouter(
        header.embedding, header.fingerprint, classifier, gate, header.min_confidence, header.figures, kind
    )


def _read_header(path: Path) -> Header:
    if not path.is_file():
        raise RouterError(f"no {HEADER} in {path.parent}", do=_RETRAIN)
    try:
        content: Any = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise RouterError(f"{path} is of format {content.get('format')}, not {FORMAT}", do=_RETRAIN)
        header = Header.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RouterError(f"{path} cannot be used: {key}: {first['msg'].lower()}", do=_RETRAIN) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RouterError(f"{path} is not JSON", do=_RETRAIN) from error
    if len(set(header.topics)) < len(header.topics):
        raise RouterError(f"{path} names a topic twice: {', '.join(header.topics)}", do=_RETRAIN)
    return header


def _read_arrays(path: Path, topics: int, dim: int) -> dict[str, Any]:
    if not path.is_file():
        raise RouterError(f"no {ARRAYS} in {path.parent}", do=_RETRAIN)
    try:
        arrays = load(path.read_bytes())
    except (SafetensorError, KeyError) as error:
        raise RouterError(f"{path} is damaged: {error}", do=_RETRAIN) from error
    shapes: dict[str, tuple[int | None, ...]] = {
        "weights": (topics, dim),
        "bias": (topics,),
        "scope_weights": (dim + topics,),
        "means": (topics, dim),
        "whitening": (dim, None),
    }
    for name, shape in shapes.items():
        _check_array(path, name, arrays.get(name), shape)
    return arrays


def _read_kind(path: Path, header: Header, arrays: dict[str, Any]) -> RouterKind:
    """The kind that chooses by cost, tried on an embedding that says nothing."""
    if header.kind not in KINDS:
        raise RouterError(f"{path.parent}: {header.kind!r} is no kind of router: {', '.join(KINDS)}", do=_RETRAIN)
    own = {name.removeprefix(_KIND): array for name, array in arrays.items() if name.startswith(_KIND)}
    for name, array in own.items():
        _check_array(path, _KIND + name, array, (None,) * array.ndim)
    query = np.zeros((1, header.dim), dtype=np.float32)
    try:
        kind = KINDS[header.kind].from_arrays(header.drafts, own)
        costs, chosen = kind.predict(query), int(kind.choose(query)[0])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise RouterError(f"{path}: the arrays of {header.kind} do not fit together: {error}", do=_RETRAIN) from error
    if costs.shape != (1, len(header.drafts)) or not np.isfinite(costs).all() or not 0 <= chosen < len(header.drafts):
        raise RouterError(f"{path}: {header.kind} cannot tell what {len(header.drafts)} drafts cost", do=_RETRAIN)
    return kind


def _check_array(path: Path, name: str, array: Any, shape: tuple[int | None, ...]) -> None:
    if array is None:
        raise RouterError(f"{path} lacks the array {name}", do=_RETRAIN)
    found = tuple(array.shape)
    fits = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    if not fits or array.dtype != np.float32:
        wanted = tuple("any" if size is None else size for size in shape)
        raise RouterError(
            f"{path}: {name} is {array.dtype} {list(found)}, not float32 {list(wanted)}: a topic or feature is missing",
            do=_RETRAIN,
        )
    if not np.isfinite(array).all():
        raise RouterError(f"{path}: {name} holds NaN or infinity", do=_RETRAIN)


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
