"""Reading checkpoints without torch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.peers.stored import read_float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_widened_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    """Small, large and negative values of every stored type, in their shapes."""
    weights = {"a": torch.randn(3, 5).to(dtype), "b": torch.tensor([1e-7, -2.5, 60000.0, 0.0]).to(dtype)}
    save_file(weights, tmp_path / "model.safetensors")
    found = read_float32(tmp_path / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(torch.from_numpy(found[name]), weight.float())


def test_other_types_are_refused_by_name(tmp_path: Path) -> None:
    """Rather than read as something that they are not."""
    save_file({"a": torch.tensor([1], dtype=torch.int64)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="a is stored as I64"):
        read_float32(tmp_path / "model.safetensors")
