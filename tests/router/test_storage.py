"""Router folders that cannot be used are refused with one clear line."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs.errors import RouterError
from router.kinds import KINDS
from router.storage import read_router
from tests.router.routers import toy_router
from tests.router.stub_encoder import StubEncoder
from tests.router.toy_costs import PRICES, toy_costs


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


@pytest.fixture
def by_cost(tmp_path: Path) -> Path:
    """A router of a kind that learned costs."""
    embeddings, table = toy_costs()
    kind = KINDS["regression"].fit(embeddings, table, PRICES, 0)
    dataclasses.replace(toy_router(StubEncoder(dim=12)), kind=kind).save(tmp_path)
    return tmp_path


def test_a_kind_that_learned_costs_comes_back_as_it_was(by_cost: Path) -> None:
    """Its drafts, its predictions and its choices, bit for bit."""
    kind = read_router(by_cost).kind
    assert kind is not None
    embeddings, table = toy_costs()
    fresh = KINDS["regression"].fit(embeddings, table, PRICES, 0)
    assert kind.menu.drafts == table.drafts
    np.testing.assert_array_equal(kind.choose(embeddings), fresh.choose(embeddings))
    np.testing.assert_array_equal(kind.predict(embeddings), fresh.predict(embeddings))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kind": "oracle"}, "'oracle' is no kind of router"),
        ({"kind": "nearest neighbours"}, "do not fit together"),
        ({"drafts": ["general", "sql"]}, "regression"),
        ({"drafts": []}, "regression"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(by_cost: Path, keys: dict[str, object], says: str) -> None:
    """Of another name, of other arrays, for other drafts."""
    change_header(by_cost, **keys)
    with pytest.raises(RouterError, match=says) as caught:
        read_router(by_cost)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("kind.weights"), "do not fit together"),
        (lambda arrays: arrays["kind.weights"].__setitem__(0, np.inf), "kind.weights holds NaN or infinity"),
        (lambda arrays: arrays.update({"kind.weights": arrays["kind.weights"][:, :-1].copy()}), "do not fit together"),
        (
            lambda arrays: arrays.update({"kind.weights": arrays["kind.weights"][:-1].copy()}),
            "cannot tell|fit together",
        ),
    ],
)
def test_arrays_of_a_kind_that_do_not_fit_are_refused(
    by_cost: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """Found out by reading, and not by the first query."""
    change_arrays(by_cost, change)
    with pytest.raises(RouterError, match=says):
        read_router(by_cost)
