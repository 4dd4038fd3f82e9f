"""Every exact rule emits the target's law, whatever was proposed; the lossy and the broken ones do not."""

import random

import pytest
import torch

import decoding.verification.kseq
import decoding.verification.recursive
from decoding.lossy import Lenient, Typical
from decoding.proposal import EMPTY, Proposal, Scheme
from decoding.verification import (
    verify,
    verify_greedy,
    verify_kseq,
    verify_lenient,
    verify_match,
    verify_recursive,
    verify_rejection,
    verify_typical,
)
from drafts.merged_drafter import merge
from tests.toy_trees import ToyLaws, emitted_law, grow
from tests.toys import Scripted, distance, exact_law

CASES = 300
SHAPES = ((1,), (2,), (3,), (1, 1), (2, 1), (1, 2), (2, 2), (1, 1, 1), (2, 1, 1))
EXACT = 1e-10


def case(number):
    """A shape, and target and draft laws over 3 to 5 tokens, fewer for the larger shapes."""
    rng = random.Random(number)
    shape = rng.choice(SHAPES)
    vocab_size = 3 if len(shape) > 1 else rng.choice((3, 4, 5) if shape != (3,) else (3, 4))
    return shape, ToyLaws(vocab_size, 3 * number), ToyLaws(vocab_size, 3 * number + 1)


def worst(rule, propose, shapes=None, cases=CASES):
    """Largest distance from the target's law over the cases. ``propose(number, shape, draft, randomness)``."""
    found = 0.0
    for number in range(cases):
        shape, target, draft = case(number)
        shape = shapes(shape) if shapes else shape
        law = emitted_law(target, lambda r: propose(number, shape, draft, r), rule, len(shape) + 1)  # noqa: B023
        found = max(found, distance(law, target.texts(len(shape) + 1)))
    return found


def drawn(scheme):
    return lambda number, shape, draft, randomness: grow(draft, shape, scheme, randomness)


def as_paths(shape):
    return shape if sum(shape) < 4 and max(shape[1:], default=1) == 1 else (shape[0],)


def two_drafts(number, shape, draft, randomness):
    """A tree and a chain of another draft, merged."""
    other = ToyLaws(draft.vocab_size, 3 * number + 2)
    chain = grow(other, (1,) * len(shape), Scheme.INDEPENDENT, randomness)
    return merge([grow(draft, shape, Scheme.INDEPENDENT, randomness), chain]).proposal


def fixed(number, shape, draft, randomness):
    """A random tree that nobody drew."""
    rng = random.Random(number)
    proposals = [Proposal.chain([rng.randrange(draft.vocab_size) for _ in shape]) for _ in range(shape[0])]
    return merge(proposals).proposal


RULES = {
    "rejection": (verify_rejection, drawn(Scheme.INDEPENDENT), lambda shape: (1,) * len(shape)),
    "recursive": (verify_recursive, drawn(Scheme.INDEPENDENT), None),
    "recursive, merged drafts": (verify_recursive, two_drafts, lambda shape: (2,) if sum(shape) > 2 else shape),
    "recursive without replacement": (verify_recursive, drawn(Scheme.WITHOUT_REPLACEMENT), None),
    "k-seq": (verify_kseq, drawn(Scheme.PATHS), as_paths),
    "match": (verify_match, fixed, None),
}


@pytest.mark.parametrize("name", RULES)
def test_the_emitted_law_is_the_targets(name):
    """300 random cases, all random decisions enumerated: within 1e-10 of the target's law."""
    rule, propose, shapes = RULES[name]
    assert worst(rule, propose, shapes) < EXACT


def test_leniency_of_one_is_exact():
    """The lenient rule with nothing to give is the recursive one, for drawn and for fixed tokens."""
    rule = lambda *args: verify_lenient(*args, Lenient(1.0))  # noqa: E731
    assert worst(rule, drawn(Scheme.WITHOUT_REPLACEMENT), cases=60) < EXACT
    assert worst(rule, fixed) < EXACT


LOSSY = {"typical": Typical(), "lenient": Lenient(1.5)}


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("propose", [drawn(Scheme.INDEPENDENT), fixed], ids=["drawn", "fixed"])
def test_lossy_rules_change_the_law(name, propose):
    """What is accepted too readily comes too often: far from the target's law, which is why nobody gets it unasked."""
    assert worst(lambda *args: verify(*args, LOSSY[name]), propose, cases=60) > 0.1


def test_leniency_multiplies_no_probability_by_more_than_it_says():
    """In a chain no first token becomes more than l times as probable as the target makes it."""
    for number, lenience in ((number, 1 + number % 5 / 2) for number in range(CASES)):
        target, draft = ToyLaws(4, 2 * number), ToyLaws(4, 2 * number + 1)
        rule = lambda *args: verify_lenient(*args, Lenient(lenience))  # noqa: B023, E731
        law = emitted_law(target, lambda r: grow(draft, (1,), Scheme.INDEPENDENT, r), rule, 1)  # noqa: B023
        assert all(mass <= lenience * target.after(())[token] + EXACT for (token,), mass in law.items())


def test_typical_acceptance_keeps_the_longest_plausible_path():
    """Tokens above min(epsilon, delta * exp(-entropy)) stay; of equally long paths the more probable one."""
    sure, flat = [0.02, 0.95, 0.03], [0.4, 0.3, 0.3]
    target = torch.tensor([sure, flat, flat, sure, flat, flat])
    proposal = Proposal([1, 0, 1, 2, 0], [-1, 0, 0, -1, 3])
    result = verify_typical(proposal, target, Scripted([1]), Typical(epsilon=0.09, delta=0.3))
    assert result.path == [0, 1]
    assert result.token_id == 1
    assert verify_typical(proposal, target, Scripted([]), Typical(epsilon=0.99, delta=9.0)).path == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Typical(epsilon=0.0),
        lambda: Typical(epsilon=1.0),
        lambda: Typical(delta=0.0),
        lambda: Lenient(lenience=0.9),
    ],
)
def test_lossy_settings_out_of_range_are_refused(make):
    """Nonsense is an error, not a surprise in the text."""
    with pytest.raises(ValueError, match="must be"):
        make()


def sorted_children(number, shape, draft, randomness):
    """The draws of each parent in the order of their tokens instead of draw order."""
    proposal = grow(draft, shape, Scheme.WITHOUT_REPLACEMENT, randomness)
    order = sorted(proposal.draws, key=lambda draw: (draw[1], proposal.token_ids[draw[0]]))
    return Proposal(proposal.token_ids, proposal.parents, proposal.draft_probs, proposal.scheme, order)


def best_children(number, shape, draft, randomness):
    """The most probable children, passed off as draws."""
    tokens = draft.after(()).topk(shape[0]).indices.tolist()
    draws = [(node, 0) for node in range(len(tokens)) if draft.after(())[tokens[node]] > 0]
    laws = draft.after(())[None]
    return Proposal(tokens[: len(draws)], [-1] * len(draws), laws, Scheme.WITHOUT_REPLACEMENT, draws)


def forgetful(number, shape, draft, randomness):
    """Children drawn without replacement, passed off as independent."""
    proposal = grow(draft, shape, Scheme.WITHOUT_REPLACEMENT, randomness)
    return Proposal(proposal.token_ids, proposal.parents, proposal.draft_probs, Scheme.INDEPENDENT, proposal.draws)


@pytest.mark.parametrize("propose", [sorted_children, best_children, forgetful])
def test_children_that_were_not_drawn_as_stated_break_the_law(propose):
    """Negative control: sorted draws, top-k as draws and the wrong scheme are all far off."""
    assert worst(verify_recursive, propose, cases=60) > 0.05


def test_counting_all_paths_instead_of_the_living_ones_breaks_kseq(monkeypatch):
    """Negative control: deeper down only the paths that agree so far are candidates."""
    kseq = decoding.verification.kseq
    factor, residual = kseq.division_factor, kseq.residual_weights
    monkeypatch.setattr(kseq, "division_factor", lambda p, q, k: factor(p, q, 2))
    monkeypatch.setattr(kseq, "residual_weights", lambda p, q, k, rho: residual(p, q, 2, rho))
    assert worst(verify_kseq, drawn(Scheme.PATHS), lambda shape: (2, 1), cases=8) > 0.01


def test_a_recovered_token_from_the_target_itself_breaks_the_law(monkeypatch):
    """Negative control: the refused mass must come from the residual."""
    monkeypatch.setattr(decoding.verification.recursive, "recovered_weights", lambda target, draft: target)
    assert worst(verify_recursive, drawn(Scheme.INDEPENDENT), cases=60) > 0.05


def test_dropping_a_draw_after_looking_at_it_breaks_the_law():
    """Negative control: a proposal cut because of the tokens that were drawn is no longer drawn from its law."""

    def propose(number, shape, draft, randomness):
        proposal = grow(draft, (1,), Scheme.INDEPENDENT, randomness)
        return proposal if draft.after(())[proposal.token_ids[0]] > 0.3 else EMPTY

    assert worst(verify, propose, cases=60) > 0.05


def test_the_scheme_decides_the_rule(monkeypatch):
    """A request cannot end up with a rule that is not exact for its proposal: the loop asks `verify` alone."""
    called = []
    for scheme in Scheme:
        rule = lambda *args, scheme=scheme: called.append(scheme)  # noqa: E731
        monkeypatch.setitem(decoding.verification._TREE_RULES, scheme, rule)
    law = torch.full((2, 3), 1 / 3)
    for scheme in Scheme:
        args = () if scheme is Scheme.FIXED else (law[:1], scheme, [(0, 0), (1, 0)])
        verify(Proposal([0, 1], [-1, -1], *args), law, Scripted([]))
    assert called == list(Scheme)


def test_a_proposal_states_how_it_was_made():
    """Laws without draws, draws without laws and drawn tokens called fixed cannot be written down."""
    law = torch.full((1, 3), 1 / 3)
    for args in ((law,), (None, Scheme.INDEPENDENT), (law, Scheme.FIXED, [(0, 0)]), (law, Scheme.PATHS)):
        with pytest.raises(AssertionError):
            Proposal([1], [-1], *args)
    with pytest.raises(AssertionError):
        verify_kseq(Proposal([1], [-1], law, Scheme.INDEPENDENT, [(0, 0)]), law, Scripted([]))


def test_equal_laws_accept_everything_and_disjoint_ones_nothing():
    """Draft = target: the whole path stays. No common token: one token a run, still the target's."""
    for number in range(40):
        target = ToyLaws(4, number)
        for scheme, rule in ((Scheme.INDEPENDENT, verify_rejection), (Scheme.PATHS, verify_kseq)):
            law = exact_law(lambda r: (len(rule(p := grow(target, (1, 1), scheme, r), target.at(p), r).path),))  # noqa: B023
            assert law == {(2,): pytest.approx(1)}
    apart = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75]], dtype=torch.float64)
    for scheme in (Scheme.INDEPENDENT, Scheme.WITHOUT_REPLACEMENT, Scheme.PATHS):
        proposal = Proposal([0, 1], [-1, -1], apart[:1], scheme, [(0, 0), (1, 0)])
        law = exact_law(lambda r: (verify(proposal, apart[[1, 1, 1]], r).token_id,))  # noqa: B023
        assert law == {(2,): pytest.approx(0.25), (3,): pytest.approx(0.75)}


def test_laws_equal_up_to_rounding_fall_back_to_the_target():
    """A residual of zeros is no law; the target's own is drawn from, never a uniform one."""
    law = torch.tensor([[0.7, 0.3, 0.0]], dtype=torch.float64)
    for scheme in (Scheme.INDEPENDENT, Scheme.WITHOUT_REPLACEMENT, Scheme.PATHS):
        refusing = Proposal([0, 1], [-1, -1], law, scheme, [(0, 0), (1, 0)])
        assert verify(refusing, law[[0, 0, 0]], AlwaysRefusing(), None).token_id in (0, 1)


class AlwaysRefusing:
    """Refuses whatever may be refused; chooses the most probable index."""

    def accept(self, probability):
        return False

    def choose(self, weights):
        assert weights.sum() > 0
        return int(weights.argmax())


def test_the_targets_law_is_left_as_it_was():
    """Siblings are tried against residuals, but nothing is changed in place."""
    for number in range(30):
        shape, target, draft = case(number)
        proposal = grow(draft, shape, Scheme.WITHOUT_REPLACEMENT, Scripted([]))
        probs = target.at(proposal)
        before = probs.clone(), proposal.draft_probs.clone()
        verify(proposal, probs, AlwaysRefusing())
        assert torch.equal(before[0], probs)
        assert torch.equal(before[1], proposal.draft_probs)


def test_a_width_of_one_is_plain_rejection_for_every_drawn_scheme():
    """k-config (1, 1) and one path decide as the chain rule does, on the same random decisions."""
    for number in range(60):
        target, draft = ToyLaws(4, 2 * number), ToyLaws(4, 2 * number + 1)
        laws = [
            emitted_law(target, lambda r: grow(draft, (1, 1), scheme, r), rule, 3)  # noqa: B023
            for scheme, rule in (
                (Scheme.INDEPENDENT, verify_rejection),
                (Scheme.INDEPENDENT, verify_recursive),
                (Scheme.WITHOUT_REPLACEMENT, verify_recursive),
                (Scheme.PATHS, verify_kseq),
            )
        ]
        assert all(distance(law, laws[0]) < 1e-12 for law in laws)


def test_the_greedy_walk_takes_the_bonus_behind_the_deepest_match():
    """The token after the path is the target's at the path's last node, in trees as in chains."""
    proposal = Proposal([3, 1, 2, 0], [-1, -1, 1, 2])
    assert verify_greedy(proposal, [1, 9, 2, 0, 7]).path == [1, 2, 3]
    assert verify_greedy(proposal, [1, 9, 2, 0, 7]).token_id == 7
    assert verify_greedy(proposal, [3, 8, 2, 0, 7]).path == [0]
    assert verify_greedy(proposal, [5, 8, 2, 0, 7]) == verify_greedy(EMPTY, [5])
