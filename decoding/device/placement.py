"""Where a model lives and in what precision."""

from dataclasses import dataclass

import torch

from configs.errors import ConfigError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, the dtype of weights and cache there, and whether every target pass has one row count.

    Attributes:
        exact: pads each target pass to `decoding.device.rows.EXACT_ROWS` rows, so that plain and speculative
            decoding run the same kernels on the same shapes. Means nothing on a CPU, where rows never differ.
    """

    device: torch.device
    dtype: torch.dtype
    exact: bool = False

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"


CPU = Placement(torch.device("cpu"), torch.float32)


def place(device: str = "auto", dtype: str = "auto", exact: bool = False) -> Placement:
    """What the words of a deployment mean on this machine.

    Args:
        device: ``auto`` (the CPU, for as long as nobody has run `polydraft bench gpu` to its end), ``cpu``, ``cuda`` or
            ``cuda:N``.
        dtype: ``auto`` (bfloat16 on CUDA, float32 on the CPU) or a key of `DTYPES`.

    Raises:
        ConfigError: there is no such device here, or the CPU is asked for another precision than float32.
    """
    wanted = torch.device("cpu" if device == "auto" else device)
    if wanted.type == "cpu":
        if dtype not in ("auto", "float32"):
            raise ConfigError(f"target.dtype {dtype} is for GPUs; on the CPU everything is float32", do="leave it auto")
        return CPU
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (wanted.index or 0) >= found:
        what = f"there is no {device}: torch {torch.__version__} sees {found} CUDA devices"
        raise ConfigError(what, do="set target.device to auto or cpu, or install a torch that is built for CUDA")
    return Placement(torch.device("cuda", wanted.index or 0), DTYPES.get(dtype, torch.bfloat16), exact)
