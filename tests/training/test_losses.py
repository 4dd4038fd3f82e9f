"""Distillation losses have the gradients of learning.md, section 1, and sparse targets approach dense ones."""

import pytest
import torch

from configs.errors import ConfigError
from training.distillation.plan import Plan
from training.divergences import forward_kl, jensen_shannon, reverse_kl, total_variation
from training.losses import LOSSES, DenseTargets, SparseTargets, acceptance, agreement, mixture

VOCAB = 7


def laws(seed, rows=4, vocab=VOCAB):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, vocab, generator=generator, dtype=torch.float64)
    teacher = torch.randn(rows, vocab, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    return student, teacher


def sparse(teacher, top):
    best = teacher.topk(top, dim=-1)
    return SparseTargets(best.indices, best.values)


def slopes(loss, logits, targets, step=1e-6):
    """Central differences of the summed loss, entry by entry."""
    found = torch.zeros_like(logits)
    for place in range(logits.numel()):
        nudge = torch.zeros_like(logits)
        nudge.view(-1)[place] = step
        found.view(-1)[place] = (loss(logits + nudge, targets) - loss(logits - nudge, targets)).sum() / (2 * step)
    return found


def closed_form(name, student, teacher):
    """d loss / d logits, [n, vocab], over whole vocabularies."""

    def pulled(score):  # softmax's part: S_i (score_i - mean of score under S)
        return student * (score - (student * score).sum(-1, keepdim=True))

    kl = student - teacher
    tv = pulled(-(student < teacher).double())
    middle = 0.5 * student + 0.5 * teacher
    weight = torch.exp(-3 * torch.minimum(student, teacher).sum(-1, keepdim=True))
    return {
        "forward_kl": kl,
        "reverse_kl": pulled((student / teacher).log()),
        "jsd": 0.5 * pulled((student / middle).log()),
        "tvd": tv,
        "lk": weight * kl + (1 - weight) * tv,
        "argmax": student - torch.nn.functional.one_hot(teacher.argmax(-1), VOCAB),
    }[name]


def gradient(name, logits, targets):
    logits = logits.clone().requires_grad_(True)
    LOSSES[name](logits, targets).sum().backward()
    return logits.grad


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_the_closed_forms(name):
    """Autograd over dense targets gives what the table of `training.divergences` says."""
    logits, teacher = laws(1)
    expected = closed_form(name, logits.softmax(-1), teacher)
    assert expected.abs().max() > 0.01
    assert torch.allclose(gradient(name, logits, DenseTargets(teacher)), expected, atol=1e-10)


@pytest.mark.parametrize("beta", [0.1, 0.8])
def test_jsd_takes_its_beta_from_its_name(beta):
    """The gradient is the closed form at that beta, and not at 0.5; without a beta it is 0.5."""
    logits, teacher = laws(1)
    student = logits.softmax(-1)

    def expected(share):
        score = (student / (share * teacher + (1 - share) * student)).log()
        return (1 - share) * student * (score - (student * score).sum(-1, keepdim=True))

    moved = logits.clone().requires_grad_(True)
    mixture(f"jsd:{beta}")(moved, DenseTargets(teacher)).sum().backward()
    assert torch.allclose(moved.grad, expected(beta), atol=1e-10)
    assert not torch.allclose(moved.grad, expected(0.5), atol=1e-3)
    assert torch.equal(mixture("jsd:0.5")(logits, sparse(teacher, 3)), LOSSES["jsd"](logits, sparse(teacher, 3)))


@pytest.mark.parametrize("name", ["jsd:0", "jsd:1", "jsd:", "jsd:much", "jsd:nan", "tvd:0.5", "argmax:0.5", "js"])
def test_a_loss_that_does_not_exist_is_refused_where_it_is_named(name):
    """By `mixture`, and by a plan with the names that there are."""
    with pytest.raises(ValueError, match=r"no divergence|no number between 0 and 1"):
        mixture(name)
    with pytest.raises(ConfigError, match="there is no loss"):
        Plan(loss=name)
    assert Plan(loss="jsd:0.1").loss == "jsd:0.1"


@pytest.mark.parametrize("top", [3, VOCAB, None])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name, top):
    """Sparse, sparse over everything, and dense; lk's weight is held, so its value moves by more than its gradient."""
    logits, teacher = laws(0)
    targets = DenseTargets(teacher) if top is None else sparse(teacher, top)
    loss = LOSSES[name]
    if name == "lk":
        distance = total_variation(*targets.laws(targets.log_law(logits)))
        weight = torch.exp(-3 * (1 - distance))

        def loss(moved, _):  # the weight of the unmoved point
            student, reference = targets.laws(targets.log_law(moved))
            return weight * forward_kl(student, reference) + (1 - weight) * total_variation(student, reference)

    assert torch.allclose(gradient(name, logits, targets), slopes(loss, logits, targets), atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_sparse_gradients_become_dense_ones(name):
    """With all tokens kept, values and gradients are those of the whole law; with few they are not."""
    logits, teacher = laws(2, vocab=50)
    dense, full, few = DenseTargets(teacher), sparse(teacher, 50), sparse(teacher, 4)
    assert torch.allclose(LOSSES[name](logits, full), LOSSES[name](logits, dense), atol=1e-7)
    assert torch.allclose(gradient(name, logits, full), gradient(name, logits, dense), atol=1e-7)
    if name != "argmax":
        assert not torch.allclose(LOSSES[name](logits, few), LOSSES[name](logits, dense), atol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("targets", ["sparse", "dense"])
def test_a_mixture_is_the_sum_of_its_parts(name, targets):
    """In value and in gradient; cross-entropy alone is itself at any weight."""
    logits, teacher = laws(7)
    known = sparse(teacher, 3) if targets == "sparse" else DenseTargets(teacher)
    logits.requires_grad_(True)
    share = 0.0 if name == "argmax" else 0.8
    parts = share * LOSSES[name](logits, known) + (1 - share) * LOSSES["argmax"](logits, known)
    mixed = mixture(name, 0.2)(logits, known)
    assert torch.allclose(mixed, parts)
    (expected,), (found,) = (torch.autograd.grad(each.sum(), logits, retain_graph=True) for each in (parts, mixed))
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("divergence", [forward_kl, reverse_kl, jensen_shannon, total_variation])
def test_buckets_hide_distance_and_never_add_any(divergence):
    """Data processing: the fewer tokens are told apart, the smaller a divergence."""
    logits, teacher = laws(2, vocab=50)
    dense = divergence(logits.softmax(-1), teacher)
    previous = torch.zeros(len(logits), dtype=torch.float64)
    for top in (2, 8, 20, 50):
        targets = sparse(teacher, top)
        value = divergence(*targets.laws(targets.log_law(logits)))
        assert (previous <= value + 1e-9).all()
        previous = value
    assert torch.allclose(previous, dense, atol=1e-7)


def test_jensen_shannon_is_symmetric_at_one_half_and_has_a_mixture():
    """JSD(a, b) = JSD(b, a) <= ln 2; the released OSD's mean of two KLs is symmetric, too, but has no such bound."""
    logits, teacher = laws(5)
    student = (3 * logits).softmax(-1)
    value = jensen_shannon(student, teacher)
    assert torch.allclose(value, jensen_shannon(teacher, student))
    assert not torch.allclose(jensen_shannon(student, teacher, 0.9), jensen_shannon(teacher, student, 0.9))
    mean_of_kls = 0.5 * forward_kl(student, teacher) + 0.5 * reverse_kl(student, teacher)
    assert (value < 0.6 * mean_of_kls).all()
    apart = torch.eye(2, dtype=torch.float64)
    assert jensen_shannon(apart[:1], apart[1:]).item() == pytest.approx(0.6931, abs=1e-4)


def test_the_hybrid_takes_its_weight_position_by_position():
    """Two positions in one batch get the values that each gets alone; a weight of the batch mean would mix them."""
    logits, teacher = laws(6, rows=2)
    logits[0] = teacher[0].log()
    together = LOSSES["lk"](logits, DenseTargets(teacher))
    alone = torch.cat([LOSSES["lk"](logits[i : i + 1], DenseTargets(teacher[i : i + 1])) for i in range(2)])
    assert torch.equal(together, alone)
    mean = torch.exp(-3 * (1 - total_variation(logits.softmax(-1), teacher).mean()))
    mixed = mean * forward_kl(logits.softmax(-1), teacher) + (1 - mean) * total_variation(logits.softmax(-1), teacher)
    assert not torch.allclose(together, mixed, atol=1e-3)


def test_acceptance_is_one_for_the_teacher_itself():
    """A student that equals its teacher is accepted always, and every loss but cross-entropy vanishes."""
    _, teacher = laws(3)
    logits = teacher.log()
    assert acceptance(logits, sparse(teacher, VOCAB)) == pytest.approx((1.0, 1.0))
    for name in LOSSES.keys() - {"argmax"}:
        assert LOSSES[name](logits, sparse(teacher, VOCAB)).abs().max().item() == pytest.approx(0, abs=1e-9)


def test_acceptance_at_temperature_one_is_the_mass_of_the_minimum():
    """1 - TV equals the sum of min(target, draft), the chance that rejection sampling accepts; buckets bound it."""
    logits, teacher = laws(4)
    least = torch.minimum(logits.softmax(-1), teacher)
    assert torch.allclose(agreement(logits, sparse(teacher, VOCAB))[1], least.sum(-1))
    few = sparse(teacher, 3)
    student, reference = few.laws(few.log_law(logits))
    upper = agreement(logits, few)[1]
    assert (upper + 1e-12 >= least.sum(-1)).all()
    assert (upper - least.sum(-1) <= torch.minimum(student, reference)[:, -1] + 1e-12).all()
