"""Reads ordinary Hugging Face folders: config.json and safetensors. Never a pickle."""

import ctypes
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from configs.errors import CheckpointError
from decoding.config import ModelConfig
from decoding.output_vocabulary import read_output_vocabulary
from decoding.rotary import rotary_frequencies

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DOWNLOAD_AGAIN = "download or export the checkpoint again"


def read_config(folder: Path, max_length: int | None = None) -> ModelConfig:
    """The architecture that ``config.json`` describes.

    Args:
        max_length: the length to be served, if known: layers with a shorter sliding window are refused then.

    Raises:
        CheckpointError: the file is missing or malformed, or asks for what the runtime does not do.
    """
    raw = _read_json(folder / "config.json")
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(f"{folder} is of family {family!r}", f"use one of: {', '.join(FAMILIES)}")
    _refuse_unknown_features(folder, raw, max_length)
    sizes = {key: _positive(folder, raw, key) for key in ("hidden_size", "intermediate_size", "vocab_size")}
    num_heads = _positive(folder, raw, "num_attention_heads")
    num_kv_heads = _positive(folder, raw, "num_key_value_heads", {"mistral": 8}.get(family, num_heads))
    head_dim = _positive(folder, raw, "head_dim", 128 if family == "qwen3" else sizes["hidden_size"] // num_heads)
    max_positions = _positive(folder, raw, "max_position_embeddings", 2048)
    if num_heads % num_kv_heads or head_dim % 2:
        facts = (f"num_attention_heads {num_heads}, num_key_value_heads {num_kv_heads}, head_dim {head_dim}",)
        raise CheckpointError(f"{folder} has heads that do not fit together", "correct config.json", facts)
    inv_freq, attention_factor = rotary_frequencies(_rope_parameters(folder, raw), head_dim, max_positions)
    biased = bool(raw.get("attention_bias")) and family in ("llama", "qwen3")
    return ModelConfig(
        family=family,
        **sizes,
        num_layers=_positive(folder, raw, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        inv_freq=inv_freq,
        rope_attention_factor=attention_factor,
        attention_bias=biased or family == "qwen2",
        output_bias=biased,
        mlp_bias=bool(raw.get("mlp_bias")) and family == "llama",
        qk_norm=family == "qwen3",
        tie_embeddings=bool(raw.get("tie_word_embeddings", False)),
        max_position_embeddings=max_positions,
        eos_token_ids=_eos_token_ids(folder, raw),
        output_token_ids=read_output_vocabulary(folder, sizes["vocab_size"]),
    )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of the checkpoint under their Hugging Face names, in their stored dtype, checked.

    A head tied to the embedding is left out. The values are finite and the shapes those of ``config.json``.

    Raises:
        CheckpointError: a file or tensor is missing, damaged, unexpected or of the wrong shape.
    """
    config = read_config(folder)
    weights: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        weights.update(_read_file(path))
    if config.tie_embeddings:
        weights.pop("lm_head.weight", None)
    weights = {name: tensor for name, tensor in weights.items() if not name.endswith("rotary_emb.inv_freq")}
    shapes = weight_shapes(config)
    _check_names(folder, set(shapes), set(weights))
    for name, shape in shapes.items():
        _check_tensor(folder, name, weights[name], shape)
    return weights


def fingerprint(folder: Path) -> str:
    """SHA-256, in hexadecimal, over what decides the logits: the architecture and the weights' bytes.

    How the weights are split into files does not matter, nor do the end tokens or the nominal length.
    """
    essentials = asdict(read_config(folder))
    del essentials["eos_token_ids"], essentials["max_position_embeddings"]
    if essentials["output_token_ids"] is None:
        del essentials["output_token_ids"]
    digest = hashlib.sha256(json.dumps(essentials, sort_keys=True).encode())
    for name, tensor in sorted(read_weights(folder).items()):
        tensor = tensor.contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        size = tensor.numel() * tensor.element_size()
        digest.update((ctypes.c_char * size).from_address(tensor.data_ptr()))
    return digest.hexdigest()


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of this architecture holds."""
    hidden, wide, dim = config.hidden_size, config.intermediate_size, config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.tie_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    kv_width, width = config.num_kv_heads * dim, config.num_heads * dim
    linears = [
        ("self_attn.q_proj", width, hidden, config.attention_bias),
        ("self_attn.k_proj", kv_width, hidden, config.attention_bias),
        ("self_attn.v_proj", kv_width, hidden, config.attention_bias),
        ("self_attn.o_proj", hidden, width, config.output_bias),
        ("mlp.gate_proj", wide, hidden, config.mlp_bias),
        ("mlp.up_proj", wide, hidden, config.mlp_bias),
        ("mlp.down_proj", hidden, wide, config.mlp_bias),
    ]
    for layer in (f"model.layers.{index}" for index in range(config.num_layers)):
        shapes[f"{layer}.input_layernorm.weight"] = shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        if config.qk_norm:
            shapes[f"{layer}.self_attn.q_norm.weight"] = shapes[f"{layer}.self_attn.k_norm.weight"] = (dim,)
        for name, outputs, inputs, biased in linears:
            shapes[f"{layer}.{name}.weight"] = (outputs, inputs)
            if biased:
                shapes[f"{layer}.{name}.bias"] = (outputs,)
    return shapes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        do = "give the folder of a Hugging Face checkpoint"
        raise CheckpointError(f"{path} does not exist", do) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read", DOWNLOAD_AGAIN, (str(error),)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold an object", DOWNLOAD_AGAIN)
    return content


def _positive(folder: Path, raw: dict[str, Any], key: str, default: int | None = None) -> int:
    value = raw.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{key} in {folder / 'config.json'} is {value!r}, not a positive number", DOWNLOAD_AGAIN)
    return value


def _refuse_unknown_features(folder: Path, raw: dict[str, Any], max_length: int | None) -> None:
    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"{folder} uses activation {raw['hidden_act']!r}", "use a model with silu")
    if raw.get("quantization_config"):
        raise CheckpointError(f"{folder} is quantised", "use the checkpoint in float16, bfloat16 or float32")
    window = _sliding_window(raw)
    if window is not None and max_length is not None and window < max_length:
        what = f"{folder} has layers that see {window} tokens, fewer than the {max_length} to be served"
        raise CheckpointError(what, f"serve at most {window} tokens, or use a model without sliding windows")


def _sliding_window(raw: dict[str, Any]) -> int | None:
    """The window of the layers that slide, None where none does. transformers' defaults fill what is unsaid."""
    if raw["model_type"] == "llama":
        return None
    window: int | None = raw.get("sliding_window", 4096)
    if raw["model_type"] == "mistral":
        return window
    if not raw.get("use_sliding_window"):
        return None
    layer_types = raw.get("layer_types")
    if layer_types is not None:
        return window if "sliding_attention" in layer_types else None
    return window if raw.get("max_window_layers", 28) < raw.get("num_hidden_layers", 0) else None


def _rope_parameters(folder: Path, raw: dict[str, Any]) -> dict[str, Any]:
    parameters = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if not isinstance(parameters, dict) or any(isinstance(value, dict) for value in parameters.values()):
        raise CheckpointError(f"{folder} rotates its layers differently", "use a model with one rope for all layers")
    outer = {key: raw[key] for key in ("rope_theta", "partial_rotary_factor") if raw.get(key) is not None}
    override = "original_max_position_embeddings"
    inner = {key: value for key, value in parameters.items() if value is not None}
    return {**outer, **inner, **({override: raw[override]} if raw.get(override) else {})}


def _eos_token_ids(folder: Path, raw: dict[str, Any]) -> tuple[int, ...]:
    """End tokens of generation_config.json, which knows more of them than config.json, else of the latter."""
    path = folder / "generation_config.json"
    value = _read_json(path).get("eos_token_id") if path.exists() else None
    value = raw.get("eos_token_id") if value is None else value
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (int(value),)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / SINGLE_FILE).exists():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX_FILE).exists():
        do = "export it with save_pretrained(..., safe_serialization=True); pickled weights are never loaded"
        raise CheckpointError(f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}", do)
    weight_map = _read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{folder / INDEX_FILE} has no weight_map", DOWNLOAD_AGAIN)
    names = sorted({str(name) for name in weight_map.values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{folder / INDEX_FILE} names files outside the folder", DOWNLOAD_AGAIN, (outside[0],))
    return [folder / name for name in names]


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is missing or damaged", DOWNLOAD_AGAIN, (str(error),)) from error


def _check_names(folder: Path, expected: set[str], found: set[str]) -> None:
    for what, names in (("lacks", expected - found), ("has unexpected", found - expected)):
        if names:
            facts = (f"{min(names)}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""),)
            raise CheckpointError(f"{folder} {what} tensors for its config.json", DOWNLOAD_AGAIN, facts)


def _check_tensor(folder: Path, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        facts = (f"{name} is {list(tensor.shape)}, config.json says {list(shape)}",)
        raise CheckpointError(f"{folder} has a tensor of the wrong shape", DOWNLOAD_AGAIN, facts)
    if tensor.dtype not in FLOATING:
        raise CheckpointError(f"{folder} stores {name} as {tensor.dtype}", "use float16, bfloat16 or float32 weights")
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{folder} has NaN or infinite values", DOWNLOAD_AGAIN, (name,))
