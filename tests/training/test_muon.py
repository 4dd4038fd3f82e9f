"""Muon's updates are orthogonalised, whatever the shape."""

import pytest
import torch

from training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)])
def test_singular_values_come_close_to_one(shape):
    """Newton-Schulz brings all singular values of a full-rank matrix into a band around 1."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, iterations=8))
    assert values.shape[-1] == min(shape[1:])
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_batching_by_shape_changes_nothing():
    """Two matrices in one batch are treated as each alone."""
    pair = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonalise(pair)[1], orthogonalise(pair[1:])[0], atol=1e-6)


def test_a_least_squares_problem_is_solved():
    """Muon with a decaying step finds the matrix behind linear data."""
    generator = torch.Generator().manual_seed(2)
    truth, data = torch.randn(6, 4, generator=generator), torch.randn(64, 4, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([weight], lr=0.3)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / 200)
        optimizer.zero_grad()
        (data @ (weight - truth).T).square().mean().backward()
        optimizer.step()
    assert torch.allclose(weight, truth, atol=0.02)
