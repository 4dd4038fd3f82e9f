"""Tiny random checkpoints of every family that the runtime knows, written by transformers itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

Checkpoint = Callable[..., Path]

SMALL = {
    "vocab_size": 61,
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests share the machine: torch's spinning threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """``checkpoint(family, dtype=..., **config)`` writes a model folder and returns it."""

    def write(family: str = "llama", dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
        return write_checkpoint(tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}", family, dtype, **changes)

    return write


def write_checkpoint(folder: Path, family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """A random model of ``family``; biases and norm scales are random too, so that none is forgotten unseen."""
    make_config, make_model = CLASSES[family]
    torch.manual_seed(0)
    model = make_model(make_config(**{**SMALL, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    model.to(dtype).save_pretrained(folder)
    return folder


def transformers_logits(folder: Path, token_ids: list[int]) -> torch.Tensor:
    """[tokens, vocab] in float32, from transformers and without any cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([token_ids])).logits[0]
