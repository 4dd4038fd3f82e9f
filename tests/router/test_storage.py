"""Router folders that cannot be used are refused with one clear line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs.errors import RouterError
from router.storage import read_router
from tests.router.routers import toy_router


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy_router().save(tmp_path)
    return tmp_path


def change_header(folder: Path, **keys: object) -> None:
    path = folder / "router.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def change_arrays(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "router.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"format": 99}, "is of format 99, not 1"),
        ({"topics": ["sql"]}, "topics: "),
        ({"topics": ["sql", "sql", "math"]}, "names a topic twice"),
        ({"topics": ["sql", "math"]}, "a topic or feature is missing"),
        ({"temperature": 0.0}, "temperature: "),
        ({"min_confidence": 2}, "min_confidence: "),
        ({"scope_bias": float("nan")}, "scope_bias: "),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_a_bad_header_is_refused(folder: Path, keys: dict[str, object], says: str) -> None:
    """Each wrong key of router.json is named, with what to do."""
    change_header(folder, **keys)
    with pytest.raises(RouterError) as caught:
        read_router(folder)
    assert says in caught.value.what
    assert "\n" not in caught.value.what
    assert "train the router again" in caught.value.do


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("weights"), "lacks the array weights"),
        (lambda arrays: arrays["bias"].__setitem__(0, np.nan), "bias holds NaN or infinity"),
        (lambda arrays: arrays.update(means=arrays["means"][:, :-1].copy()), "means is float32"),
        (lambda arrays: arrays.update(weights=arrays["weights"].astype(np.float64)), "weights is float64"),
    ],
)
def test_bad_arrays_are_refused(folder: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    """A missing, misshapen or non-finite array is named."""
    change_arrays(folder, change)
    with pytest.raises(RouterError) as caught:
        read_router(folder)
    assert says in caught.value.what


@pytest.mark.parametrize("name", ["router.json", "router.safetensors"])
def test_missing_or_damaged_files_are_refused(folder: Path, name: str) -> None:
    """A file that was cut short or deleted is an error of the router, not of a library."""
    path = folder / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RouterError, match=r"is damaged|is not JSON"):
        read_router(folder)
    path.unlink()
    with pytest.raises(RouterError, match=f"no {name} in"):
        read_router(folder)
