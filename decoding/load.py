"""Loads a checkpoint folder into the fastest model that this machine can run."""

import logging
from pathlib import Path

from configs.errors import KernelError
from decoding.device.model import DeviceModel
from decoding.device.placement import CPU, Placement
from decoding.model import LanguageModel
from decoding.native_model import NativeModel
from decoding.torch_model import TorchModel

BACKENDS = ("auto", "native", "torch")

logger = logging.getLogger(__name__)


def load_model(
    folder: Path,
    num_slots: int,
    max_length: int,
    backend: str = "auto",
    placement: Placement = CPU,
    int8: bool = False,
) -> LanguageModel:
    """A model with an empty cache of ``num_slots`` sequences of at most ``max_length`` tokens.

    Args:
        backend: ``native`` (compiled), ``torch``, or ``auto``: native where a compiler is, else torch.
            Of the CPU; elsewhere there is one model only.
        int8: whether the native model may round its matrices to bytes; for drafts, see `load_draft`.

    Raises:
        CheckpointError: the folder cannot be used.
        KernelError: the native backend was asked for by name and cannot be built.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if not placement.is_cpu:
        return DeviceModel.from_folder(folder, num_slots, max_length, placement)
    if backend == "torch":
        return TorchModel.from_folder(folder, num_slots, max_length)
    try:
        return NativeModel.from_folder(folder, num_slots, max_length, int8)
    except KernelError as error:
        if backend == "native":
            raise
        logger.warning("running on torch, several times slower than the native kernel would be: %s", error)
    return TorchModel.from_folder(folder, num_slots, max_length)


def load_draft(
    folder: Path, num_slots: int, max_length: int, backend: str = "auto", placement: Placement = CPU
) -> LanguageModel:
    """As `load_model`, for a model that only proposes: in bytes where the processor multiplies them on tiles.

    Rounding costs a few accepted tokens and never changes an answer. Whoever serves, replays or judges a draft loads
    it here, so that all of them see the same proposals.
    """
    return load_model(folder, num_slots, max_length, backend, placement, int8=True)
