"""Architecture of a Llama-family checkpoint, as the runtime needs it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What `decoding.checkpoint.read_config` extracts from a Hugging Face ``config.json``.

    ``inv_freq`` holds the head_dim / 2 rotary frequencies after the config's scaling (linear, llama3, yarn);
    ``rope_attention_factor`` multiplies cos and sin (1 unless the scaling says otherwise).
    """

    family: str  # llama | mistral | qwen2 | qwen3
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    inv_freq: tuple[float, ...]
    rope_attention_factor: float
    attention_bias: bool  # biases on q, k, v projections
    output_bias: bool  # bias on the o projection
    mlp_bias: bool
    qk_norm: bool  # RMSNorm over head_dim on queries and keys before RoPE (Qwen3)
    tie_embeddings: bool
    max_position_embeddings: int
    eos_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...] | None = None  # all that the head covers; None is the whole vocabulary
