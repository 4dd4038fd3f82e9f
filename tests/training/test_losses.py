"""Distillation losses have the right gradients, and sparse targets approach dense ones."""

import pytest
import torch

from training.losses import SparseTargets, acceptance, argmax_cross_entropy, forward_kl, lk_hybrid, total_variation

VOCAB = 7


def laws(seed, rows=4, vocab=VOCAB):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, vocab, generator=generator, dtype=torch.float64)
    teacher = torch.randn(rows, vocab, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    return student, teacher


def sparse(teacher, top):
    best = teacher.topk(top, dim=-1)
    return SparseTargets(best.indices, best.values)


@pytest.mark.parametrize("top", [3, VOCAB])
@pytest.mark.parametrize("loss", [argmax_cross_entropy, lambda logits, targets: lk_hybrid(logits, targets, eta=0.0)])
def test_gradients_equal_finite_differences(loss, top):
    """Autograd and a central difference agree (eta = 0: the weight that lk_hybrid holds constant is 1)."""
    logits, teacher = laws(0)
    targets = sparse(teacher, top)
    logits.requires_grad_(True)
    loss(logits, targets).backward()
    step = 1e-6
    for row, column in ((0, 0), (1, 3), (3, 6)):
        nudge = torch.zeros_like(logits)
        nudge[row, column] = step
        with torch.no_grad():
            slope = (loss(logits + nudge, targets) - loss(logits - nudge, targets)) / (2 * step)
        assert logits.grad[row, column].item() == pytest.approx(slope.item(), abs=1e-7)


def test_total_variation_gradient_is_the_closed_form():
    """d TV / d z_i = -q_i (1[q_i < p_i] - sum of q where q < p), for dense targets."""
    logits, teacher = laws(1, rows=1)
    logits.requires_grad_(True)
    student = logits.softmax(-1)
    total_variation(student, teacher).sum().backward()
    below = (student < teacher).double()
    expected = -student * (below - (student * below).sum())
    assert torch.allclose(logits.grad, expected.detach(), atol=1e-12)


def test_sparse_losses_approach_the_dense_ones_from_below():
    """With all tokens kept the bucketed figures are exact; with fewer they never exceed them."""
    logits, teacher = laws(2, vocab=50)
    dense_tv = total_variation(logits.softmax(-1), teacher).mean().item()
    dense_kl = (teacher * (teacher.log() - logits.log_softmax(-1))).sum(-1).mean().item()
    previous = 0.0
    for top in (2, 8, 20, 50):
        targets = sparse(teacher, top)
        student = logits.softmax(-1).gather(-1, targets.token_ids)
        bucketed = torch.cat([student, (1 - student.sum(-1, keepdim=True)).clamp(min=0)], -1)
        reference = torch.cat([targets.probs, targets.tail[:, None]], -1)
        distance = total_variation(bucketed, reference).mean().item()
        divergence = forward_kl(bucketed, reference).mean().item()
        assert previous <= distance + 1e-12 <= dense_tv + 2e-12
        assert divergence <= dense_kl + 1e-9
        previous = distance
    assert distance == pytest.approx(dense_tv, abs=1e-12)
    assert divergence == pytest.approx(dense_kl, abs=1e-8)


def test_acceptance_is_one_for_the_teacher_itself():
    """A student that equals its teacher is accepted always, and every loss but cross-entropy vanishes."""
    _, teacher = laws(3)
    logits = teacher.log()
    assert acceptance(logits, sparse(teacher, VOCAB)) == pytest.approx((1.0, 1.0))
    assert lk_hybrid(logits, sparse(teacher, VOCAB)).item() == pytest.approx(0, abs=1e-9)


def test_acceptance_at_temperature_one_is_the_mass_of_the_minimum():
    """1 - TV equals the sum of min(target, draft), which is the chance that rejection sampling accepts."""
    logits, teacher = laws(4)
    expected = torch.minimum(logits.softmax(-1), teacher).sum(-1).mean().item()
    assert acceptance(logits, sparse(teacher, VOCAB))[1] == pytest.approx(expected)
