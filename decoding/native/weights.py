"""Weights in the layout that the kernel streams, and the C structures that describe them."""

import ctypes
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from decoding.config import ModelConfig
from decoding.native.memory import Arena
from decoding.rotary import rotary_tables

STORAGES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # enum Storage of kernel.cpp
TILES, BYTES = 3, 4
TILE_OUTPUTS = 16


class CLinear(ctypes.Structure):
    """struct Linear of kernel.cpp."""

    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("inputs", "outputs", "storage", "padding")),
    )


class CLayer(ctypes.Structure):
    """struct Layer of kernel.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input_norm", "post_norm", "query_norm", "key_norm")),
        *((name, CLinear) for name in ("qkv", "out", "gate_up", "down")),
    )


class CModel(ctypes.Structure):
    """struct Model of kernel.cpp."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("hidden", "intermediate", "num_layers", "num_heads", "num_kv_heads")),
        ("head_dim", ctypes.c_int32),
        ("norm_eps", ctypes.c_float),
        ("embedding_storage", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("embedding", "cosines", "sines", "final_norm", "layers")),
        ("head", CLinear),
        ("output_ids", ctypes.c_void_p),
    )


class PackedWeights:
    """One immutable set of weights for the kernel; models exchange it whole, between two forwards.

    Matrices whose values all fit bfloat16 (or half precision) are stored so, which halves what a forward reads. The
    kernel widens them exactly, so the storage never changes a bit of the result; but where it has ``tiles`` it
    multiplies bfloats there, whose sums round elsewhere. With ``int8`` they are rounded to bytes, 127 steps to the
    largest weight of an output.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, Tensor],
        max_length: int,
        panel: int,
        tiles: bool,
        int8: bool = False,
    ):
        self._panel, self._tiles, self._int8 = panel, tiles, int8
        self._alive: list[object] = []
        self._arena = Arena()
        self.num_bytes = 0
        self._weights = weights
        table = self._keep(functional.pad(_narrow([weights["model.embed_tokens.weight"]]).flatten(), (0, 64)))
        cosines, sines = (self._keep(table) for table in rotary_tables(config, max_length))
        layers = (CLayer * config.num_layers)(*(self._layer(index) for index in range(config.num_layers)))
        self._alive.append(layers)
        head = "model.embed_tokens" if config.tie_embeddings else "lm_head"
        self.struct = CModel(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            norm_eps=config.rms_norm_eps,
            embedding_storage=STORAGES[table.dtype],
            embedding=table.data_ptr(),
            cosines=cosines.data_ptr(),
            sines=sines.data_ptr(),
            final_norm=self._vector("model.norm.weight"),
            layers=ctypes.addressof(layers),
            head=self._linear(head, rows=config.output_token_ids),
            output_ids=self._ids(config.output_token_ids),
        )
        self.address = ctypes.addressof(self.struct)
        del self._weights, self._arena

    def _layer(self, index: int) -> CLayer:
        layer = f"model.layers.{index}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        return CLayer(
            input_norm=self._vector(f"{layer}.input_layernorm.weight"),
            post_norm=self._vector(f"{layer}.post_attention_layernorm.weight"),
            query_norm=self._vector(f"{attention}.q_norm.weight"),
            key_norm=self._vector(f"{attention}.k_norm.weight"),
            qkv=self._linear(*(f"{attention}.{name}_proj" for name in "qkv")),
            out=self._linear(f"{attention}.o_proj"),
            gate_up=self._linear(f"{mlp}.gate_proj", f"{mlp}.up_proj"),
            down=self._linear(f"{mlp}.down_proj"),
        )

    def _linear(self, *names: str, rows: tuple[int, ...] | None = None) -> CLinear:
        matrix = _narrow(self._weights[f"{name}.weight"] for name in names)
        matrix = matrix if rows is None else matrix[list(rows)]
        outputs, inputs = matrix.shape
        scales: Tensor | None = None
        if self._int8:
            storage, (matrix, scales) = BYTES, _round(matrix)
            packed = _tile(matrix, self._panel, together=4)
            scales = self._keep(functional.pad(scales, (0, -outputs % self._panel)))
        elif self._tiles and matrix.dtype == torch.bfloat16:
            storage, packed = TILES, _tile(matrix, self._panel, together=2)
        else:
            storage, packed = STORAGES[matrix.dtype], _pack(matrix, self._panel)
        biases = [self._weights[f"{name}.bias"].float() for name in names if f"{name}.bias" in self._weights]
        bias = self._keep(torch.cat(biases)).data_ptr() if biases else None
        scale = None if scales is None else scales.data_ptr()
        return CLinear(self._keep(packed).data_ptr(), bias, scale, inputs, outputs, storage)

    def _ids(self, token_ids: tuple[int, ...] | None) -> int | None:
        return None if token_ids is None else self._keep(torch.tensor(token_ids, dtype=torch.int32)).data_ptr()

    def _vector(self, name: str) -> int | None:
        return self._keep(self._weights[name].float()).data_ptr() if name in self._weights else None

    def _keep(self, tensor: Tensor) -> Tensor:
        placed = self._arena.place(tensor)
        self._alive.append(placed)
        self.num_bytes += placed.nbytes
        return placed


def _narrow(parts: Iterable[Tensor]) -> Tensor:
    """Rows of all parts in the first of bfloat16, half and float32 that holds every value exactly."""
    parts = list(parts)
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(part.to(dtype).to(part.dtype), part) for part in parts):
            return torch.cat([part.to(dtype) for part in parts])
    return torch.cat([part.to(torch.float32) for part in parts])


def _pack(matrix: Tensor, panel: int) -> Tensor:
    """[outputs, inputs] -> [panels, inputs, panel], the last panel padded with zeros."""
    outputs, inputs = matrix.shape
    padded = functional.pad(matrix, (0, 0, 0, -outputs % panel))
    return padded.view(-1, panel, inputs).transpose(1, 2).contiguous()


def _tile(matrix: Tensor, panel: int, together: int) -> Tensor:
    """[outputs, inputs] -> [panels, blocks, halves of a panel, 16, outputs of a half, together], padded with zeros.

    A block is 16 times ``together`` inputs: of neighbours that a tile operation sums up before it adds to a result.
    """
    outputs, inputs = matrix.shape
    block = TILE_OUTPUTS * together
    padded = functional.pad(matrix, (0, -inputs % block, 0, -outputs % panel))
    shape = (-1, panel // TILE_OUTPUTS, TILE_OUTPUTS, padded.shape[1] // block, TILE_OUTPUTS, together)
    return padded.view(shape).permute(0, 3, 1, 4, 2, 5).contiguous()


def _round(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[outputs, inputs] as bytes, and the scale of each output, which is no number if one of its weights is none."""
    wide = matrix.float()
    scales = wide.abs().amax(1) / 127
    return (wide / scales.clamp(min=1e-30)[:, None]).nan_to_num().round().to(torch.int8), scales
