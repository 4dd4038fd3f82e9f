"""A Llama checkpoint of the Hugging Face form as a GGUF file in float32.

Prompts are sent as token ids, so of the tokenizer only what ids mean is written, for texts in replies.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from benchmarks.peers.stored import read_float32

_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_INNER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_SPECIAL, _NORMAL = 3, 1  # token types of GGUF


def write_gguf(folder: Path, out: Path) -> Path:
    """``out``, written whole unless it is there.

    Raises:
        ValueError: not a Llama.
    """
    if out.is_file():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] != "llama":
        raise ValueError(f"{folder} is a {config['model_type']}; only Llama checkpoints are converted")
    part = out.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    _write_shape(writer, config)
    _write_tokens(writer, json.loads((folder / "tokenizer.json").read_text()), config)
    for file in sorted(folder.glob("*.safetensors")):
        for name, weight in read_float32(file).items():
            writer.add_tensor(_name(name), np.ascontiguousarray(_weight(name, weight, config), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(out)
    return out


def _write_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10000.0)}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_vocab_size(config["vocab_size"])


def _write_tokens(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    names = {index: text for text, index in tokenizer["model"]["vocab"].items()} | special
    size = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names.get(index, f"<unused {index}>") for index in range(size)])
    writer.add_token_types([_SPECIAL if index in special or index not in names else _NORMAL for index in range(size)])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    end = config["eos_token_id"]
    writer.add_eos_token_id(end[0] if isinstance(end, list) else end)
    writer.add_add_bos_token(False)


def _name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    _, _, layer, *inner, kind = name.split(".")
    return f"blk.{layer}.{_INNER['.'.join(inner)]}.{kind}"


def _weight(name: str, weight: Any, config: dict[str, Any]) -> Any:
    """Rows of queries and keys in llama.cpp's order, which turns neighbours where Hugging Face turns halves."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for part, count in heads.items():
        if name.endswith(f"{part}.weight"):
            rows, columns = weight.shape
            halves = weight.reshape(count, 2, rows // count // 2, columns)
            return halves.swapaxes(1, 2).reshape(rows, columns)
    return weight
