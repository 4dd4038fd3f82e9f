"""Functions on tensors of fixed addresses, captured at their first call and replayed afterwards.

What a capture records is what ran, with every number that Python knew then. So a function may take from Python only
what its key says; all else must come in tensors, which are copied into the recorded addresses before each replay.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]
Capture = Callable[[Callable[[], Outputs]], tuple[Callable[[], object], Outputs]]

_WARM_UPS = 2  # runs before a capture: libraries set themselves up in the first


class Graphs:
    """Captured calls by key.

    Args:
        capture: records a function, and returns what replays it and the tensors that a replay writes to; None to
            run every call as it is.
    """

    def __init__(self, capture: Capture | None = None):
        self._capture = capture
        self._calls: dict[Hashable, tuple[list[Tensor], Callable[[], object], Outputs]] = {}

    def run(self, key: Hashable, function: Callable[..., Outputs], inputs: Sequence[Tensor]) -> Outputs:
        """``function(*inputs)``; the result is the caller's until the next run of the same key.

        Args:
            key: tells apart all calls that differ in anything but the values of ``inputs``.
        """
        if self._capture is None:
            return function(*inputs)
        if key not in self._calls:
            own = [tensor.clone() for tensor in inputs]
            self._calls[key] = own, *self._capture(partial(function, *own))
        own, replay, outputs = self._calls[key]
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        replay()
        return outputs

    def beside(self) -> "Graphs":
        """Further ones, whose keys mean something else, in the same memory."""
        return Graphs(self._capture)

    def __len__(self) -> int:
        return len(self._calls)


def graphs_on(device: torch.device) -> Graphs:
    """CUDA's on a GPU, and none elsewhere."""
    return cuda_graphs(device) if device.type == "cuda" else Graphs()


def cuda_graphs(device: torch.device) -> Graphs:
    """Graphs on a GPU that share memory; they are never replayed side by side."""
    pool = torch.cuda.graph_pool_handle()

    def capture(function: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
        with torch.cuda.device(device):
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UPS):
                    function()
            torch.cuda.current_stream(device).wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads may load weights meanwhile; they are no part of this.
            with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
                outputs = function()
        return graph.replay, outputs

    return Graphs(capture)
