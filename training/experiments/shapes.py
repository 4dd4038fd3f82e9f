"""Sizes of drafts that the experiments compare."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from decoding.costs import StepCosts, measure_costs
from decoding.load import load_draft, load_model
from training.starter.export import save_model

_SLOTS, _LENGTH = 8, 256  # of the caches that costs are measured with


@dataclass(frozen=True)
class Shape:
    """A Llama draft: width, width inside the MLP, layers, and what an attention head is wide."""

    width: int
    mlp: int
    layers: int = 1
    head_dim: int = 64

    @property
    def name(self) -> str:
        return f"{self.layers}x{self.width}-{self.mlp}"

    def config(self, target: Path) -> LlamaConfig:
        """The configuration of such a draft for the target in folder ``target``: its vocabulary and special tokens."""
        like = AutoConfig.from_pretrained(target)
        return LlamaConfig(
            vocab_size=like.vocab_size,
            hidden_size=self.width,
            intermediate_size=self.mlp,
            num_hidden_layers=self.layers,
            num_attention_heads=self.width // self.head_dim,
            num_key_value_heads=1,
            head_dim=self.head_dim,
            max_position_embeddings=like.max_position_embeddings,
            tie_word_embeddings=True,
            bos_token_id=like.bos_token_id,
            eos_token_id=like.eos_token_id,
            pad_token_id=like.pad_token_id,
            rms_norm_eps=like.rms_norm_eps,
            initializer_range=like.initializer_range,
        )


SHIPPED = Shape(192, 384)
QUARTER = Shape(64, 128)
SIXTEENTH = Shape(16, 64, head_dim=16)
SIX_FOLD = Shape(640, 1408)  # about as many parameters as six shipped drafts together


def measure_shapes(target: Path, work: Path, shapes: Iterable[Shape]) -> dict[Shape, StepCosts]:
    """What a step of each shape costs beside the target on this machine; new weights cost what trained ones do."""
    model, tokenizer = load_model(target, _SLOTS, _LENGTH), AutoTokenizer.from_pretrained(target)
    found = {}
    for shape in shapes:
        folder = work / "shapes" / shape.name
        if not folder.is_dir():
            save_model(LlamaForCausalLM(shape.config(target)), tokenizer, folder)
        found[shape] = measure_costs(model, load_draft(folder, _SLOTS, _LENGTH))[0]
    return found
