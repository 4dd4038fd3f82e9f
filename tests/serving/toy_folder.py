"""A tiny random Llama with a tiny tokenizer, as ordinary Hugging Face folders, made in milliseconds."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from decoding.checkpoint import read_config, weight_shapes

END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>"
    "{% else %}<|user|>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,?0123456789é€"  # é and € take two and three bytes
MERGES = [("h", "e"), ("t", "he"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "n"), ("Ġ", "a"), ("Ġ", "the")]


def write_tokenizer(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """Byte-level BPE over a few letters, whose multi-byte characters are always split into bytes."""
    alphabet = [token for token, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(LETTERS)]
    letters = sorted(set("".join(alphabet)))
    tokens = [END, USER, ASSISTANT, *letters, *(left + right for left, right in MERGES)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END, USER, ASSISTANT])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    wrapped.chat_template = chat_template
    folder.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(folder)


def write_model(folder: Path, seed: int = 0, layers: int = 2, vocab_size: int | None = None) -> Path:
    """Random weights; the tokenizer must be in ``folder`` already, unless ``vocab_size`` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    if vocab_size is None:
        vocab_size = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        "eos_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.ones(shape)
        if name.endswith("norm.weight")
        else _even(torch.randn(shape, generator=generator) * 0.4)
        for name, shape in weight_shapes(read_config(folder)).items()
    }
    weights["lm_head.weight"][0] = 0  # the end token has a middling logit, so that answers have some length
    save_file(weights, folder / "model.safetensors")
    return folder


def _even(matrix: torch.Tensor) -> torch.Tensor:
    """In the steps of a draft's bytes, so that a copy of the target is as perfect a draft as a test takes it for."""
    step = matrix.abs().amax(1, keepdim=True) / 127
    return (matrix / step).round() * step


def write_toy(folder: Path, seed: int = 0, layers: int = 2) -> Path:
    """Tokenizer and model."""
    write_tokenizer(folder)
    return write_model(folder, seed, layers)


def write_toys(folder: Path) -> Path:
    """Folders target, general, sql (a perfect draft: the target itself) and math."""
    write_toy(folder / "target")
    for seed, name in enumerate(("general", "math"), start=1):
        shutil.copytree(folder / "target", folder / name)
        write_model(folder / name, seed, layers=1)
    shutil.copytree(folder / "target", folder / "sql")
    return folder


def toy_drafts(folder: Path) -> dict[str, object]:
    """The ``drafts`` section for `write_toys`."""
    topics = {name: {"model": str(folder / name)} for name in ("sql", "math")}
    return {"general": {"model": str(folder / "general")}, "topics": topics}
