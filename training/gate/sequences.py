"""Bounds on the mean of a stream that hold at all times at once, so that one may look after every request."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.gate.rule import GateRule, counts


@dataclass(frozen=True, slots=True)
class Bounds:
    """Running mean and its lower and upper bound after each request, float64 [..., t]; infinite before the burn-in."""

    mean: Tensor
    lower: Tensor
    upper: Tensor


def confidence_sequence(differences: Tensor, rule: GateRule) -> Bounds:
    """One-sided asymptotic confidence sequences, each at level 1 - alpha, from Robbins' normal mixture.

    The mean +- s sqrt(2 (t rho^2 + 1) / (t^2 rho^2) ln(sqrt(t rho^2 + 1) / (2 alpha))), s being the standard deviation
    so far (Waudby-Smith et al. 2021, arXiv 2103.06476). Asymptotic: where single differences are as skewed to the
    left as an exponential law, it errs more often than it says; `betting_wealth` does not.

    Args:
        differences: independent by request, [..., t].
    """
    t = counts(differences)
    mean = differences.cumsum(-1) / t
    centre = differences[..., :1]  # a shift leaves the variance as it is, and keeps its sums small
    shifted = differences - centre
    variance = shifted.square().cumsum(-1) / t - (mean - centre).square()
    log = -2 * math.log(2 * rule.alpha)
    rho = (log + math.log1p(log)) / rule.tuned_for  # rho squared
    inner = t * rho + 1
    radius = (variance.clamp(min=0) * 2 * inner / (t * t * rho) * (inner.sqrt() / (2 * rule.alpha)).log()).sqrt()
    radius[..., : rule.burn_in - 1] = torch.inf
    return Bounds(mean, mean - radius, mean + radius)


def betting_wealth(differences: Tensor, bound: float = 0.2) -> Tensor:
    """Wealth of a bettor who says that the mean is above 0, after each request; 1 / alpha is reached by chance
    with probability alpha at most, for any number of requests (Ville's inequality; Waudby-Smith and Ramdas 2024).

    Each bet is a share of the wealth, clip(m / (v + m^2), 0, 0.9), m and v being mean and variance of what came before.

    Args:
        differences: [..., t]; clipped to +-``bound``, so the claim is about clipped ones.
        bound: in the unit of the differences.
    """
    scaled = differences.clamp(-bound, bound) / bound
    t = counts(scaled)
    mean = scaled.cumsum(-1) / t
    variance = (scaled.square().cumsum(-1) / t - mean.square()).clamp(min=1e-12)
    stakes = functional.pad((mean / (variance + mean.square())).clamp(0, 0.9), (1, 0))[..., :-1]
    return (stakes * scaled).log1p().cumsum(-1).exp()
