"""Requests verified together get what each would get alone."""

import itertools

import pytest
import torch

from decoding.lossy import Lenient
from decoding.proposal import EMPTY, Proposal, Scheme
from decoding.randomness import SeededRandomness
from decoding.verification import recursive, verify, verify_all, verify_greedy

VOCAB = 40


def drawn_chain(length, seed, temperature):
    laws = torch.randn(1 + length, VOCAB, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    noise = torch.randn(length, VOCAB, generator=torch.Generator().manual_seed(-seed - 1))
    draft = (laws[:-1].log() + temperature * noise).softmax(-1)
    source = SeededRandomness(seed)
    return Proposal.chain([source.choose(row) for row in draft], draft if length else None), laws, source


def requests():
    """Chains that are accepted, refused early and late; nothing; trees, copied text, greedy and lossy requests."""
    mixed = []
    for seed, (length, temperature) in enumerate(itertools.product((0, 1, 2, 5, 8), (0.0, 0.3, 1.5, 4.0))):
        mixed.append((*drawn_chain(length, seed, temperature), None))
    for seed in range(20, 26):
        proposal, law, source = drawn_chain(3, seed, 1.0)
        mixed.append((proposal, law, source, Lenient(2.0)))
        mixed.append((Proposal.chain(proposal.token_ids), law, SeededRandomness(seed), None))
        mixed.append((proposal, law.argmax(-1).tolist(), source, None))
        token_ids = list(dict.fromkeys(proposal.token_ids[:2]))
        draws = [(node, 0) for node in range(len(token_ids))]
        tree = Proposal(token_ids, [-1] * len(token_ids), proposal.draft_probs[:1], Scheme.WITHOUT_REPLACEMENT, draws)
        mixed.append((tree, law[: 1 + len(token_ids)], SeededRandomness(seed), None))
    return mixed


def alone(proposal, law, source, lossy):
    return verify_greedy(proposal, law) if isinstance(law, list) else verify(proposal, law, source, lossy)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_batch_decides_as_each_request_alone(reverse):
    """The same path, the same last token, and the same place in the source of its decisions afterwards."""
    batch, single = requests(), requests()
    if reverse:
        batch, single = batch[::-1], single[::-1]
    together = verify_all(*(list(column) for column in zip(*batch, strict=True)))
    assert together == [alone(*each) for each in single]
    assert [each[2].uniform() for each in batch] == [each[2].uniform() for each in single]
    lengths = {len(result.path) for result in together}
    assert {0, 1, 2} < lengths  # so that every kind of ending was met


def test_a_batch_without_any_proposal_is_drawn_from_the_target():
    """Which is what plain decoding is."""
    laws = [torch.full((1, VOCAB), 1e-9).index_fill(1, torch.tensor([n]), 1.0) for n in range(5)]
    results = verify_all([EMPTY] * 5, laws, [SeededRandomness(n) for n in range(5)], [None] * 5)
    assert [result.token_id for result in results] == list(range(5))


def test_rows_without_a_residual_fall_back_to_the_target_one_by_one():
    """A rounding accident of one request leaves its batch mates alone."""
    target = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    draft = torch.tensor([[0.5, 0.5, 0.0], [0.6, 0.3, 0.1]])
    weights = recursive.recovered_weights(target, draft)
    assert torch.allclose(weights, torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.4]]))
    assert torch.equal(weights[0], recursive.recovered_weights(target[0], draft[0]))
