"""The price rule over enumerated prices and acceptances, against the formula written out."""

from itertools import product

import pytest

from router.pricing import LEAST_GAIN, LEAST_SPEEDUP, Offer, Rule, Verdict, decide

FLAT, STEEP, FULL = (1.0, 1.02, 1.04, 1.06, 1.08), (1.0, 1.3, 1.6, 1.9, 2.2), (1.0, 2.0, 3.0, 4.0, 5.0)
ALPHAS, STEPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), (0.0, 0.03, 0.1, 0.3, 1.0)


def by_hand(alpha: float, step: float, width: tuple[float, ...]) -> float:
    """S at the best of all lengths."""
    return max(sum(alpha**j for j in range(k + 1)) / (width[k] + k * step) for k in range(1, len(width)))


class TestSpeedup:
    @pytest.mark.parametrize(("alpha", "step"), product(ALPHAS, STEPS))
    def test_it_is_the_formula_at_the_best_length(self, alpha: float, step: float) -> None:
        """For every price."""
        for width in (FLAT, STEEP, FULL):
            assert Offer("sql", alpha, step).speedup(width) == pytest.approx(by_hand(alpha, step, width))

    @pytest.mark.parametrize(("step", "alpha"), [(0.03, 0.05), (0.1, 0.12), (0.2, 0.22)])
    def test_break_even_is_where_theory_has_it(self, step: float, alpha: float) -> None:
        """`learning.md`, section 5, for runs that widen by a hundredth a row."""
        width = [1 + 0.01 * rows for rows in range(9)]

        assert Offer("sql", alpha - 0.02, step).speedup(width) < 1.0 < Offer("sql", alpha + 0.02, step).speedup(width)


class TestDecide:
    @pytest.mark.parametrize(("alpha", "step", "width"), product(ALPHAS, STEPS, (FLAT, STEEP, FULL)))
    def test_alone_a_draft_serves_where_it_pays_and_nothing_where_it_does_not(
        self, alpha: float, step: float, width: tuple[float, ...]
    ) -> None:
        """The threshold is a price: the same acceptance passes on one machine and fails on another."""
        speedup = by_hand(alpha, step, width)
        expected = Verdict("sql", Rule.CHOSEN, speedup) if speedup > LEAST_SPEEDUP else Verdict(None, Rule.NO_GAIN)
        found = decide(Offer("sql", alpha, step), width)

        assert (found.name, found.rule) == (expected.name, expected.rule)
        assert found.speedup == pytest.approx(expected.speedup)

    @pytest.mark.parametrize(("own", "general", "step", "width"), product(ALPHAS, ALPHAS, (0.03, 0.1), (FLAT, STEEP)))
    def test_a_draft_must_be_cheaper_than_the_general_one_by_a_hundredth(
        self, own: float, general: float, step: float, width: tuple[float, ...]
    ) -> None:
        """Else the general one serves, whose cache and batch others share."""
        ours, theirs = by_hand(own, step, width), by_hand(general, step, width)
        found = decide(Offer("sql", own, step), width, general=Offer("general", general, step))
        if max(ours, theirs) <= LEAST_SPEEDUP:
            assert (found.name, found.rule) == (None, Rule.NO_GAIN)
        elif theirs * LEAST_GAIN > ours:
            expected = ("general", Rule.CHEAPER_GENERAL) if theirs > LEAST_SPEEDUP else (None, Rule.NO_GAIN)
            assert (found.name, found.rule) == expected
        else:
            assert (found.name, found.rule) == ("sql", Rule.CHOSEN)

    def test_where_drafts_cost_too_much_copies_may_still_pay(self) -> None:
        """Unless rows do too, as in a full batch."""
        dear, lookup = Offer("sql", 0.5, 0.6), Offer("lookup", 0.7, 0.0)

        assert decide(dear, FLAT, lookup=lookup).rule == Rule.CHEAPER_LOOKUP
        assert decide(dear, FLAT, lookup=lookup).name == "lookup"
        assert decide(dear, FULL, lookup=lookup) == Verdict(None, Rule.NO_GAIN)

    def test_a_draft_that_pays_is_not_given_up_for_copies(self) -> None:
        """Lookup proposes beside it wherever it finds something."""
        found = decide(Offer("sql", 0.5, 0.05), FLAT, lookup=Offer("lookup", 0.9, 0.0))

        assert (found.name, found.rule) == ("sql", Rule.CHOSEN)

    def test_another_topic_s_draft_serves_if_it_is_cheaper_for_this_query(self) -> None:
        """By more than the error of predictions."""
        chosen, near = Offer("shell", 0.5, 0.05), Offer("python", 0.505, 0.05)

        assert decide(chosen, FLAT, [near]).name == "shell"
        assert decide(chosen, FLAT, [near, Offer("sql", 0.7, 0.05)]) == Verdict(
            "sql", Rule.CHEAPER_DRAFT, Offer("sql", 0.7, 0.05).speedup(FLAT)
        )

    def test_a_router_that_chose_the_general_draft_is_not_overruled_in_its_favour(self) -> None:
        """Its own reason stays: the query was out of scope, say."""
        general = Offer("general", 0.5, 0.05)

        assert decide(general, FLAT, general=general).rule == Rule.CHOSEN
        assert decide(general, FLAT, [Offer("sql", 0.5, 0.05)], general).rule == Rule.CHOSEN

    def test_of_two_equal_drafts_the_one_that_others_share_is_taken(self) -> None:
        """A step for a batch costs each request less."""
        own, shared = Offer("sql", 0.6, 0.1), Offer("general", 0.58, 0.03)

        assert decide(own, FLAT, general=shared) == Verdict("general", Rule.CHEAPER_GENERAL, shared.speedup(FLAT))
