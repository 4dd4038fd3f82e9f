"""Sampling and verification without branches: the same laws and rules as on the CPU."""

from itertools import product

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from decoding.device.sampling import choose, cuts, laws_of, settings_of
from decoding.device.verification import Chains, verify_greedily, verify_sampled
from decoding.proposal import Proposal
from decoding.randomness import SeededRandomness, choose_rows
from decoding.request import SamplingParams
from decoding.sampling import probabilities
from decoding.verification import verify_greedy

GRID = [
    SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for temperature, top_k, top_p, min_p in product((0.5, 1.3), (0, 1, 3, 1000), (1.0, 0.6), (0.0, 0.2))
]
TRIALS = 200_000


def logits_of(rows: int, vocab_size: int = 300, seed: int = 0) -> Tensor:
    return 2 * torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(seed))


def test_laws_are_those_of_the_cpu() -> None:
    """Every combination of temperature and cuts, side by side, ties among them; greedy rows are certain."""
    params = [*GRID, SamplingParams()]
    logits = logits_of(len(params))
    logits[:, 100:110] = logits.amax(dim=-1, keepdim=True) - 0.1
    found = laws_of(logits, torch.tensor(settings_of(params, 300)), has_cuts=True)
    torch.testing.assert_close(found[:-1], probabilities(logits[:-1], GRID))
    assert torch.equal(found[:-1] == 0, probabilities(logits[:-1], GRID) == 0)
    assert found[-1].tolist() == torch.nn.functional.one_hot(logits[-1].argmax(), 300).tolist()


def test_without_cuts_none_are_made() -> None:
    """The shorter way gives the same laws; and it is only taken where nobody asks for a cut."""
    params = [SamplingParams(temperature=0.8), SamplingParams(), SamplingParams(temperature=2.0)]
    logits, settings = logits_of(3), torch.tensor(settings_of(params, 300))
    torch.testing.assert_close(laws_of(logits, settings, False), laws_of(logits, settings, True))
    assert not cuts(params)
    assert [each for each in GRID if not cuts([each])] == [GRID[0], GRID[16]]
    assert not cuts([SamplingParams(top_p=0.5)]), "greedy requests cut nothing"


def test_choosing_takes_what_the_cpu_takes() -> None:
    """The same numbers give the same tokens, and none of weight zero."""
    weights = torch.rand(50, 40, generator=torch.Generator().manual_seed(2))
    weights[:, ::3] = 0
    expected = choose_rows(weights, [SeededRandomness(seed) for seed in range(50)])
    uniforms = torch.tensor([SeededRandomness(seed).uniform() for seed in range(50)], dtype=torch.float64)
    assert choose(weights, uniforms).tolist() == expected
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64).repeat(25)
    assert (weights.gather(1, choose(weights, edges)[:, None]) > 0).all()


def test_greedy_verdicts_are_those_of_the_cpu() -> None:
    """Chains of several lengths in one call: accepted tokens, and the target's own after them."""
    generator = torch.Generator().manual_seed(3)
    lengths = [0, 1, 2, 4, 4, 4]
    rows, start, proposals, best = [], 0, [], []
    for length in lengths:
        rows.append([start + min(place, length) for place in range(5)])
        start += length + 1
    logits = logits_of(start, vocab_size=3)
    for row, length in zip(rows, lengths, strict=True):
        best.append(logits[row[: length + 1]].argmax(dim=-1).tolist())
        right = int(torch.randint(0, length + 1, (1,), generator=generator))
        proposals.append([*best[-1][:right], *[(token + 1) % 3 for token in best[-1][right:length]]])
    table = torch.tensor([[*each, *[0] * (4 - len(each))] for each in proposals])
    found = verify_greedily(logits, Chains(torch.tensor(rows), table, torch.tensor(lengths))).tolist()
    for verdict, proposal, wanted in zip(found, proposals, best, strict=True):
        expected = verify_greedy(Proposal.chain(proposal), wanted)
        accepted = verdict[0]
        assert accepted == len(expected.path)
        assert verdict[1 : 2 + accepted] == [*proposal[:accepted], expected.token_id]


def first_tokens(is_drawn: bool, shares_dice: bool = False) -> tuple[Tensor, Tensor]:
    """Counts of the first emitted token over many requests with one law, and that law."""
    generator = torch.Generator().manual_seed(4)
    target, draft = (logits_of(1, vocab_size=5, seed=seed)[0] for seed in (5, 6))
    law = target.softmax(-1)
    dice = torch.rand(TRIALS, 5, dtype=torch.float64, generator=generator)
    laws = draft.softmax(-1).expand(TRIALS, 5)
    tokens = choose(laws, dice[:, 0] if shares_dice else dice[:, 4]) if is_drawn else torch.full((TRIALS,), 2)
    found = verify_sampled(
        target.expand(TRIALS, 5),
        Chains(torch.arange(TRIALS)[:, None].expand(TRIALS, 3), tokens[:, None].repeat(1, 2), torch.full((TRIALS,), 1)),
        laws,
        torch.stack([torch.arange(TRIALS) if is_drawn else torch.full((TRIALS,), -1), torch.full((TRIALS,), -1)], 1),
        torch.tensor(settings_of([SamplingParams(temperature=1.0)] * TRIALS, 5)),
        dice[:, :3],
        has_cuts=False,
    )
    return torch.bincount(found[:, 1], minlength=5), law


def p_value(counts: Tensor, law: Tensor) -> float:
    expected = law * counts.sum()
    return float(chi2.sf(float(((counts - expected) ** 2 / expected).sum()), len(law) - 1))


@pytest.mark.parametrize("is_drawn", [True, False])
def test_sampled_verdicts_follow_the_targets_law(is_drawn: bool) -> None:
    """A token that a draft drew, and one that was copied from somewhere: both leave the law alone."""
    assert p_value(*first_tokens(is_drawn)) > 1e-3


def test_dice_that_draft_and_verifier_share_are_found_out() -> None:
    """Negative control: noise that is used twice biases the answers (vLLM once shared it)."""
    assert p_value(*first_tokens(True, shares_dice=True)) < 1e-9
