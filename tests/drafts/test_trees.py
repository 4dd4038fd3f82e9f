"""Trees grow in the stated shape, from the stated laws, and merge without losing a draw."""

import pytest
import torch

from decoding.proposal import EMPTY, Proposal, Scheme
from decoding.randomness import SeededRandomness
from decoding.request import SamplingParams
from drafts.expansion import Expansion
from drafts.growth import GrowingTree, draw_rows
from drafts.merged_drafter import MergedDrafter, merge
from drafts.model_drafter import ModelDrafter
from drafts.tree_drafter import TreeDrafter
from tests.toys import ToyModel, make_request

PROMPT = [1, 2]


def grown(expansion, depth=9, temperature=1.0, model=None):
    drafter = TreeDrafter(model or ToyModel(6, 1), expansion)
    params = SamplingParams(temperature=temperature, max_tokens=20)
    return drafter.propose([make_request(PROMPT, params, SeededRandomness(0))], [depth])[0]


def laws_by_hand(proposal, model):
    """What the draft says after each draw's parent, at temperature 1."""
    texts = {-1: PROMPT}
    for node, (token_id, parent) in enumerate(zip(proposal.token_ids, proposal.parents, strict=True)):
        texts[node] = [*texts[parent], token_id]
    return torch.stack([model.logits(texts[proposal.parents[node]]).softmax(-1) for node, _ in proposal.draws])


@pytest.mark.parametrize("scheme", [Scheme.WITHOUT_REPLACEMENT, Scheme.INDEPENDENT])
def test_a_tree_has_as_many_draws_as_its_shape_says_each_from_its_parents_law(scheme):
    """4 + 4*2 + 8*2 draws without replacement; with it a repeated token is one node that goes on once."""
    proposal = grown(Expansion((4, 2, 2), scheme))
    by_parent = [proposal.parents[node] for node, _ in proposal.draws]
    depths = [0]
    for parent in proposal.parents:
        depths.append(depths[parent + 1] + 1)
    counts = {parent: by_parent.count(parent) for parent in set(by_parent)}
    assert counts == {parent: (4, 2, 2)[depths[parent + 1]] for parent in counts}
    assert proposal.scheme is scheme
    if scheme is Scheme.WITHOUT_REPLACEMENT:
        assert len(proposal) == 28
    assert len(proposal.draft_probs) == len(set(by_parent)), "children of one parent share a law"
    stated = proposal.draft_probs[[law for _, law in proposal.draws]]
    assert torch.allclose(stated, laws_by_hand(proposal, ToyModel(6, 1)))


def test_paths_that_agree_share_their_nodes_and_keep_their_number():
    """Four paths of three: four draws at every depth, however few nodes they end up in."""
    proposal = grown(Expansion((4, 1, 1), Scheme.PATHS), model=ToyModel(2, 1))
    depths = [0]
    for parent in proposal.parents:
        depths.append(depths[parent + 1] + 1)
    drawn = [depths[node + 1] for node, _ in proposal.draws]
    assert [drawn.count(depth) for depth in (1, 2, 3)] == [4, 4, 4]
    assert len(proposal) < 12


def test_greedy_requests_get_the_most_probable_children_undrawn():
    """Top-k is no sample, so it carries no law."""
    model, proposal = ToyModel(6, 1), grown(Expansion((3, 2)), temperature=0.0)
    assert proposal.scheme is Scheme.FIXED
    assert proposal.draft_probs is None
    assert proposal.token_ids[:3] == model.logits(PROMPT).topk(3).indices.tolist()
    assert proposal.token_ids[3:5] == model.logits([*PROMPT, proposal.token_ids[0]]).topk(2).indices.tolist()


def test_a_requests_length_cuts_the_depth():
    """Two tokens asked for: two levels of three."""
    assert len(grown(Expansion((2, 2, 2)), depth=2)) == 6


def test_drawing_without_replacement_ends_with_the_support():
    """A token without probability is never drawn to fill up the number."""
    laws = torch.tensor([[0.0, 0.3, 0.7, 0.0], [0.25, 0.25, 0.25, 0.25]])
    for seed in range(50):
        rows = draw_rows(laws, [3, 3], False, [SeededRandomness(seed)] * 2)
        assert sorted(rows[0]) == [1, 2]
        assert len(set(rows[1])) == 3
    assert laws[0].tolist() == pytest.approx([0.0, 0.3, 0.7, 0.0]), "the law itself is left alone"


def test_a_draw_depends_on_its_own_source_alone():
    """A request draws the same tree beside any others."""
    drafter = TreeDrafter(ToyModel(6, 1), Expansion((2, 2)))
    params = SamplingParams(temperature=1.0, max_tokens=20)
    alone = drafter.propose([make_request(PROMPT, params, SeededRandomness(3))], [2])[0]
    mates = [make_request([n], params, SeededRandomness(n), request_id=str(n)) for n in (0, 4)]
    request = make_request(PROMPT, params, SeededRandomness(3), request_id="x")
    together = drafter.propose([mates[0], request, mates[1]], [1, 2, 2])[1]
    assert (together.token_ids, together.draws) == (alone.token_ids, alone.draws)


def chain(tokens, law=None):
    return Proposal.chain(tokens, None if law is None else torch.full((len(tokens), 4), law))


def test_merging_keeps_every_draw_as_a_trial_of_its_own():
    """A token that two drafts drew at one place is one node with two trials, each with its own law, in draft order."""
    union = merge([chain([1, 2, 3], 0.1), EMPTY, chain([1, 2, 0], 0.2), chain([3], 0.3)])
    assert union.proposal.token_ids == [1, 2, 3, 0, 3]
    assert union.proposal.parents == [-1, 0, 1, 1, -1]
    assert union.proposal.draws == [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4), (3, 5), (4, 6)]
    assert union.proposal.draft_probs[:, 0].tolist() == pytest.approx([0.1] * 3 + [0.2] * 3 + [0.3])
    assert union.nodes == [[0, 1, 2], [], [0, 1, 3], [4]]


def test_merging_undrawn_trees_is_idempotent():
    """The union of a tree with itself, and with nothing, is the tree."""
    tree = Proposal([1, 2, 0, 3], [-1, -1, 0, 1])
    union = merge([tree, tree, EMPTY]).proposal
    assert (union.token_ids, union.parents, union.scheme) == (tree.token_ids, tree.parents, Scheme.FIXED)
    assert merge([EMPTY, EMPTY]).proposal == EMPTY


def test_proposals_of_different_schemes_are_not_merged():
    """No one rule would be exact for both."""
    with pytest.raises(AssertionError, match="one rule"):
        merge([chain([1]), chain([1], 0.25)])


def test_each_draft_keeps_its_own_part_of_the_path():
    """A draft's cache follows the accepted path for as long as it had proposed it itself."""
    drafters = {"a": ModelDrafter(ToyModel(6, 1)), "b": ModelDrafter(ToyModel(6, 3))}
    merged = MergedDrafter(drafters)
    request = make_request(PROMPT, SamplingParams(max_tokens=20))
    assert ToyModel(6, 1).greedy(PROMPT, 1) != ToyModel(6, 3).greedy(PROMPT, 1)
    merged.propose([request], [4])
    merged.commit(request, [0, 1, 2])  # the first draft's nodes come first
    lengths = {name: drafter.model.cache.lengths[drafter._slots["r"]] for name, drafter in drafters.items()}
    assert lengths == {"a": len(PROMPT) + 3, "b": len(PROMPT)}


def test_a_merged_drafter_counts_and_waits_for_all_its_drafts():
    """Rows of the target run: those of both. It can propose while one of them can."""
    full = ModelDrafter(ToyModel(6, 2, num_slots=0))
    merged = MergedDrafter({"a": TreeDrafter(ToyModel(6, 1), Expansion((4, 2))), "b": full})
    assert merged.num_nodes(2) == 14
    request = make_request(PROMPT, SamplingParams(max_tokens=20))
    assert merged.behind(request) == len(PROMPT) - 1
    assert MergedDrafter({"b": full}).behind(request) is None
    assert len(merged.propose([request], [2])[0]) == 12


def test_a_level_hangs_below_the_one_before():
    """Each row of tokens below its own node; a token that stands there twice is one child of two paths."""
    tree = GrowingTree()
    tree.add_level([[3, 1, 3]])
    tree.add_level([[0], [2, 2]])
    assert (tree.token_ids, tree.parents) == ([3, 1, 0, 2], [-1, -1, 0, 1])
    assert tree.num_paths == [1, 2]
    assert tree.frontier == [2, 3]
