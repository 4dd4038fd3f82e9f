"""The menu of a router: the length of proposals, and acceptance from costs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from router.costs import Prices
from router.kinds import Menu
from tests.router.toy_costs import ALPHAS, DRAFTS, PRICES, TOPICS, toy_costs


class TestMenu:
    def test_lengths_are_the_table_s_and_stay_for_other_tables(self) -> None:
        """What is held out must not choose them."""
        _, table = toy_costs()
        menu = Menu.of(table, PRICES)
        _, other = toy_costs(seed=1, alphas={(topic, topic): 0.3 for topic in TOPICS})

        assert menu.lengths == table.best_lengths(PRICES) != other.best_lengths(PRICES)
        assert_allclose(menu.costs(other), other.costs(PRICES, menu.lengths))

    def test_a_run_costs_its_width_and_its_draft_steps(self) -> None:
        """In plain target runs, so that one without proposals costs 1."""
        menu = Menu(("general", "sql"), (2, 1), Prices((0.1, 0.3), (1.0, 1.2, 1.4)))

        assert_allclose(menu.per_run(), [1.6, 1.5])

    def test_acceptance_is_found_back_from_costs(self) -> None:
        """The inverse of the cost model, for every alpha; what cannot be is 0 or 1."""
        menu = Menu(("general", "sql"), (4, 2), Prices((0.05, 0.1), PRICES.width))
        alphas = np.linspace(0.0, 1.0, 21)
        tokens = np.array([[sum(alpha**depth for depth in range(size + 1)) for size in (4, 2)] for alpha in alphas])

        assert_allclose(menu.acceptance(menu.per_run() / tokens), np.stack([alphas, alphas], axis=1), atol=1e-6)
        assert_allclose(menu.acceptance(np.array([[99.0, 99.0], [0.0, 0.0]])), [[0, 0], [1, 1]], atol=1e-6)

    def test_acceptance_of_a_table_is_near_what_made_it(self) -> None:
        """Of each draft on its own topic."""
        _, table = toy_costs(noise=0.0)
        menu = Menu.of(table, PRICES)
        found = menu.acceptance(menu.costs(table) / table.tokens[:, None])
        own = found[np.arange(len(table)), menu.of_groups(table.groups)]

        assert_allclose(own, ALPHAS["own"], atol=1e-6)

    def test_groups_without_a_draft_fall_back(self) -> None:
        """To the general draft, wherever it stands; to the first where there is none."""
        menu = Menu(("sql", "general"), (1, 1), PRICES)

        assert menu.of_groups(("sql", "out_of_scope", "")).tolist() == [0, 1, 1]
        assert Menu(TOPICS, (1, 1, 1), PRICES).of_groups(("weather",)).tolist() == [0]

    def test_prices_of_other_drafts_are_refused(self) -> None:
        """They would be somebody else's."""
        _, table = toy_costs()
        with pytest.raises(ValueError, match="prices of 1 drafts"):
            Menu.of(table, Prices((0.1,), PRICES.width))

    def test_arrays_bring_the_menu_back(self) -> None:
        """Prices to single precision."""
        menu = Menu(DRAFTS, (3, 2, 1, 0), PRICES)
        back = Menu.from_arrays(DRAFTS, menu.to_arrays())

        assert (back.drafts, back.lengths) == (DRAFTS, (3, 2, 1, 0))
        assert_allclose(back.per_run(), menu.per_run(), rtol=1e-6)
