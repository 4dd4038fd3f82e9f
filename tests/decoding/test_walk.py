"""The model's own greedy verification is the rule's, for chains and trees, whatever else is in the pass."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.load import load_model
from decoding.model import LanguageModel, walk
from decoding.proposal import EMPTY, Proposal
from decoding.span import Span
from tests.decoding.conftest import write_checkpoint

VOCAB = 61


@pytest.fixture(scope="module", params=["native", "torch"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_model(write_checkpoint(tmp_path_factory.mktemp("walk") / "model", "llama"), 4, 64, request.param)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Parents, and steps from the token that the target would say there: 0 is right."""
    count = draw(st.integers(0, 7))
    nodes = [(draw(st.integers(-1, node - 1)), draw(st.sampled_from([0, 0, 1, 2]))) for node in range(count)]
    return list(dict.fromkeys(nodes))  # no two children of one parent carry the same token


def proposed(model: LanguageModel, slot: int, pending: list[int], nodes: list[tuple[int, int]]) -> Proposal:
    """A tree that is right as often as its nodes ask for."""
    paths: list[list[int]] = []
    kept: list[tuple[int, int]] = []
    for parent, miss in nodes:
        if parent >= len(kept):
            continue
        before = paths[parent] if parent >= 0 else []
        logits = model.forward([Span(slot, [*pending, *before], logits_from=len(pending) + len(before) - 1)])
        paths.append([*before, (model.argmax(logits)[0] + miss) % VOCAB])
        kept.append((parent, miss))
    return Proposal([path[-1] for path in paths], [parent for parent, _ in kept])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), trees()), min_size=1, max_size=4), st.integers(0, 60))
def test_each_proposal_is_followed_as_the_rule_follows_it(
    model: LanguageModel, turns: list[tuple[int, bool, list[tuple[int, int]]]], first: int
) -> None:
    """Requests with prompts before their proposals, with nothing proposed, and with prompts that go on."""
    spans: list[Span] = []
    proposals: list[Proposal] = []
    for slot, (rows, is_complete, nodes) in enumerate(turns):
        pending = [(first + 7 * slot + row) % VOCAB for row in range(rows)]
        proposal = proposed(model, slot, pending, nodes) if is_complete else EMPTY
        parents = [*range(-1, rows - 1), *(rows + parent for parent in proposal.parents)]
        wanted = rows - 1 if is_complete else rows
        spans.append(Span(slot, pending + proposal.token_ids, parents if len(proposal) else None, wanted))
        if is_complete:
            proposals.append(proposal)
    logits = model.forward(spans)
    expected = walk([int(row.argmax()) for row in logits], proposals)
    assert model.verify_greedy(logits, proposals) == expected
    assert model.verify_greedy(logits.clone(), proposals) == expected


def test_right_tokens_are_accepted(model: LanguageModel) -> None:
    """A wrong branch first, then three right tokens, then a wrong one."""
    proposal = proposed(model, 0, [5], [(-1, 1), (-1, 0), (1, 0), (2, 0), (3, 2)])
    parents = [-1, *(1 + parent for parent in proposal.parents)]
    (found,) = model.verify_greedy(model.forward([Span(0, [5, *proposal.token_ids], parents)]), [proposal])
    assert found.path == [1, 2, 3]
    assert found.token_id == (proposal.token_ids[4] - 2) % VOCAB
