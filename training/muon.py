"""Muon for training on CPUs."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from training.precision import has_bfloat16_units

_QUINTIC = (3.4445, -4.7750, 2.0315)  # maximal slope at zero (Jordan et al. 2024)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly, by Newton-Schulz. Shape [count, rows, columns] in and out."""
    wide: Tensor = matrices.mT if matrices.size(-2) > matrices.size(-1) else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(iterations):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.mT if matrices.size(-2) > matrices.size(-1) else wide


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are orthogonalised (Jordan et al. 2024).

    `torch.optim.Muon` iterates in bfloat16, which CPUs without units for it emulate at a quarter of the
    speed of float32, and one matrix at a time; this one batches matrices of equal shape and iterates in
    bfloat16 only where that is fast.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = torch.bfloat16 if has_bfloat16_units() else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            shaped: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                shaped[parameter.shape].append((parameter, parameter.grad.lerp(buffer, group["momentum"])))
            for shape, pairs in shaped.items():
                stacked = torch.stack([update for _, update in pairs])
                updates = orthogonalise(stacked.to(self._dtype)).to(stacked.dtype)
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * scale)
