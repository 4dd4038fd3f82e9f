"""Drafts in bytes: near to their checkpoint, and the same wherever they are loaded."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from configs.errors import IncompatibleDraft
from decoding.checkpoint import read_config, read_weights
from decoding.load import load_draft, load_model
from decoding.native.build import load_kernel
from decoding.native_model import NativeModel
from decoding.output_vocabulary import write_output_vocabulary
from decoding.span import Span
from decoding.torch_model import TorchModel
from drafts.soundness import check_sound
from tests.decoding.conftest import Checkpoint

TOKEN_IDS = [int(value) for value in torch.randint(0, 61, (48,), generator=torch.Generator().manual_seed(1))]
needs_tiles = pytest.mark.skipif(not load_kernel().polydraft_has_bytes(), reason="this processor has no tiles of bytes")


def logits(model: NativeModel | TorchModel) -> Tensor:
    return model.forward([Span(0, TOKEN_IDS)]).clone()


def in_bytes(folder: Path) -> NativeModel:
    return NativeModel.from_folder(folder, 1, 64, int8=True)


def rounded(weights: dict[str, Tensor], tied: bool) -> dict[str, Tensor]:
    """What the bytes stand for: 127 steps to the largest weight of an output. The embedding of tokens stays."""
    found = {name: tensor.double() for name, tensor in weights.items()}
    if tied:
        found["lm_head.weight"] = found["model.embed_tokens.weight"]
    for name, tensor in found.items():
        if tensor.ndim == 2 and name != "model.embed_tokens.weight":
            step = tensor.abs().amax(1, keepdim=True) / 127
            found[name] = (tensor / step).round() * step
    return found


@needs_tiles
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("inputs", [40, 64, 100])
def test_only_the_weights_are_rounded(family: str, inputs: int, checkpoint: Checkpoint) -> None:
    """Against the rounded weights in float64, with widths that fill a tile and that do not: a row has 15 bits."""
    folder = checkpoint(family, torch.float16, hidden_size=inputs, intermediate_size=2 * inputs - 7)
    config, weights = read_config(folder), read_weights(folder)
    exact = logits(TorchModel(config, weights, 1, 64, dtype=torch.float64))
    meant = logits(TorchModel(config, rounded(weights, config.tie_embeddings), 1, 64, dtype=torch.float64))
    found = logits(in_bytes(folder))
    assert (found - meant).abs().mean() < 0.05 * (exact - meant).abs().mean()


@needs_tiles
def test_a_byte_a_weight_is_half_the_memory(checkpoint: Checkpoint) -> None:
    """Of a half's, in matrices."""
    folder = checkpoint("llama", torch.float16, hidden_size=256, intermediate_size=512, vocab_size=64)
    halves, tables = load_model(folder, 1, 64, "native").num_weight_bytes, 64 * 256 * 2
    assert in_bytes(folder).num_weight_bytes - tables < 0.6 * (halves - tables)


def test_a_trimmed_head_says_the_same_tokens(checkpoint: Checkpoint) -> None:
    """The logits of the tokens that it keeps are those of the whole head, bit for bit."""
    folder, kept = checkpoint("llama"), list(range(1, 61, 3))
    whole = logits(in_bytes(folder))
    write_output_vocabulary(folder, kept)
    trimmed = logits(in_bytes(folder))
    assert torch.equal(trimmed[:, kept], whole[:, kept])
    assert trimmed[:, 0].max() < -1e30


@needs_tiles  # of others, a compiler may not even know the flag
def test_without_tiles_of_bytes_a_draft_is_its_checkpoint(checkpoint: Checkpoint) -> None:
    """Asked for bytes or not."""
    folder = checkpoint("qwen3", torch.float16)
    kernel = load_kernel(("-march=native", "-mno-amx-int8"))
    config, weights = read_config(folder), read_weights(folder)
    asked, plain = (NativeModel(config, weights, 1, 64, kernel, int8) for int8 in (True, False))
    assert not asked.int8
    assert torch.equal(logits(asked), logits(plain))


def test_weights_of_nothing_give_nothing(checkpoint: Checkpoint) -> None:
    """An output whose weights are all zero, and rows that are, divide by no zero."""
    folder = checkpoint("llama")
    config, weights = read_config(folder), read_weights(folder)
    weights["lm_head.weight"][5] = 0
    weights["model.layers.0.mlp.gate_proj.weight"][:] = 0
    found = logits(NativeModel(config, weights, 1, 64, int8=True))
    assert found.isfinite().all()
    assert not found[:, 5].any()


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.0.mlp.down_proj.weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_found(name: str, value: float, checkpoint: Checkpoint) -> None:
    """Rounding does not hide a broken draft from the check that it must pass."""
    folder = checkpoint("llama")
    config, weights = read_config(folder), read_weights(folder)
    weights[name][3, 4] = value
    with pytest.raises(IncompatibleDraft):
        check_sound(NativeModel(config, weights, 1, 64, int8=True), "broken")


def test_every_draft_is_loaded_so(checkpoint: Checkpoint) -> None:
    """`load_draft` rounds where that is possible, `load_model` does not unless asked."""
    folder = checkpoint("llama", torch.float16)
    draft, model = load_draft(folder, 1, 64, "native"), load_model(folder, 1, 64, "native")
    assert isinstance(draft, NativeModel)
    assert isinstance(model, NativeModel)
    assert draft.int8 == bool(load_kernel().polydraft_has_bytes())
    assert not model.int8
    assert isinstance(load_draft(folder, 1, 64, "torch"), TorchModel)
