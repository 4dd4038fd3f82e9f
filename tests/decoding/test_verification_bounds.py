"""How often a candidate is accepted: never more than any rule could, in the order that theory gives."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from decoding.proposal import Proposal, Scheme
from decoding.verification import verify_kseq, verify_match, verify_recursive
from decoding.verification.kseq import division_factor, residual_weights
from drafts.merged_drafter import merge
from tests.toy_trees import ToyLaws, acceptance, grow

CASES = 300
SLACK = 1e-9  # of the solver, too


def optimum(target, draft, num_candidates):
    """Best acceptance of any exact rule for i.i.d. candidates: optimal transport with membership cost, as an LP.

    Mass moves from tuples of candidates to their members; what cannot move is a refusal, so both sides are bounds.
    """
    vocab_size = len(target)
    tuples = list(itertools.product(range(vocab_size), repeat=num_candidates))
    moves = [(place, token) for place, candidates in enumerate(tuples) for token in set(candidates)]
    rows = np.zeros((len(tuples) + vocab_size, len(moves)))
    for column, (place, token) in enumerate(moves):
        rows[place, column] = rows[len(tuples) + token, column] = 1
    masses = [math.prod(float(draft[token]) for token in candidates) for candidates in tuples]
    solution = linprog([-1.0] * len(moves), A_ub=rows, b_ub=[*masses, *target.tolist()])
    assert solution.status == 0
    return -solution.fun


def accepted(target, draft, count, scheme, rule):
    return acceptance(target, lambda randomness: grow(draft, (count,), scheme, randomness), rule)


def cases():
    for number in range(CASES):
        vocab_size, count = (4, 2) if number % 3 else (3, 3)
        yield count, ToyLaws(vocab_size, 2 * number), ToyLaws(vocab_size, 2 * number + 1)


def test_acceptance_lies_where_theory_puts_it():
    """One candidate <= recursive <= optimum <= sum min(p, 1 - (1 - q)^k); K-SEQ reaches its share of the optimum."""
    shares = []
    for count, target, draft in cases():
        p, q = target.after(()), draft.after(())
        one = accepted(target, draft, 1, Scheme.INDEPENDENT, verify_recursive)
        recursive = accepted(target, draft, count, Scheme.INDEPENDENT, verify_recursive)
        kseq = accepted(target, draft, count, Scheme.PATHS, verify_kseq)
        best = optimum(p, q, count)
        assert one == pytest.approx(float(torch.minimum(p, q).sum()))
        assert one - SLACK <= recursive <= best + SLACK
        assert best <= float(torch.minimum(p, 1 - (1 - q) ** count).sum()) + SLACK
        assert (1 - (1 - 1 / count) ** count) * best - SLACK <= kseq <= best + SLACK
        shares.append(kseq / best if best else 1.0)
    assert min(shares) >= 1 - 1 / math.e


def test_drawing_without_replacement_accepts_at_least_as_often():
    """No candidate is wasted on a repetition; now and then that beats even the optimum for independent ones."""
    beaten = 0
    for count, target, draft in cases():
        independent = accepted(target, draft, count, Scheme.INDEPENDENT, verify_recursive)
        distinct = accepted(target, draft, count, Scheme.WITHOUT_REPLACEMENT, verify_recursive)
        assert distinct >= independent - SLACK
        beaten += distinct > optimum(target.after(()), draft.after(()), count) + SLACK
    assert beaten > CASES / 4


def test_more_candidates_are_accepted_at_least_as_often():
    """Acceptance never falls with k, by any scheme, and rises somewhere."""
    rules = {
        Scheme.INDEPENDENT: verify_recursive,
        Scheme.WITHOUT_REPLACEMENT: verify_recursive,
        Scheme.PATHS: verify_kseq,
    }
    for scheme, rule in rules.items():
        gained = 0.0
        for number in range(20):
            target, draft = ToyLaws(3, 2 * number), ToyLaws(3, 2 * number + 1)
            chances = [accepted(target, draft, count, scheme, rule) for count in (1, 2, 3)]
            assert chances == pytest.approx(sorted(chances), abs=SLACK)
            gained += chances[-1] - chances[0]
        assert gained > 0.5


def test_matching_accepts_the_targets_mass_on_the_candidates():
    """A fixed set S is left with probability 1 - sum of target(x) over S."""
    for number in range(CASES):
        target, draft = ToyLaws(5, 2 * number), ToyLaws(5, 2 * number + 1)
        tokens = draft.after(()).topk(2).indices.tolist()
        proposal = merge([Proposal.chain([token]) for token in tokens]).proposal
        mass = float(target.after(())[tokens].sum())
        assert acceptance(target, lambda _: proposal, verify_match) == pytest.approx(mass)  # noqa: B023


def test_the_division_factor_solves_its_equation():
    """rho is 1 for one candidate, lies in [1, k], solves 1 - (1 - beta)^k = rho beta and leaves no negative mass."""
    for number in range(300):
        p, q = ToyLaws(5, 2 * number).after(()), ToyLaws(5, 2 * number + 1).after(())
        assert division_factor(p, q, 1) == 1
        for count in (2, 3, 8):
            rho = division_factor(p, q, count)
            assert 1 <= rho <= count
            accepted = torch.minimum(q, p / rho)
            beta = float(accepted.sum())
            assert 1 - (1 - beta) ** count == pytest.approx(rho * beta, abs=1e-9)
            at_least_one = 1 - (1 - beta) ** count
            left = p - accepted * (at_least_one / beta if beta else 0)
            assert left.min() > -1e-12
            assert torch.allclose(residual_weights(p, q, count, rho), left.clamp(min=0)) or not left.clamp(min=0).any()


def test_the_division_factor_stands_single_precision_and_large_vocabularies():
    """float32 laws over thousands of tokens: rho stays in [1, k] and the residual adds up to what is missing."""
    generator = torch.Generator().manual_seed(0)
    for sharpness in (0.1, 1.0, 10.0):
        p = (sharpness * torch.randn(8192, generator=generator)).softmax(-1)
        q = (sharpness * torch.randn(8192, generator=generator)).softmax(-1)
        for count in (2, 4):
            rho = division_factor(p, q, count)
            beta = float(torch.minimum(q, p / rho).sum())
            assert 1 <= rho <= count
            assert float(residual_weights(p, q, count, rho).sum()) == pytest.approx((1 - beta) ** count, abs=1e-5)
