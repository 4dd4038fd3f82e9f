"""Tables of what drafts cost: prices, subsets, merging, and files that are whole or refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from configs.errors import RouterError
from router.costs import HEADER, CostTable, Prices, merge

FREE = Prices(draft=(0.0, 0.0), width=(1.0, 1.0, 1.0))


def table(texts: tuple[str, ...] = ("a", "b", "c"), versions: tuple[str, str] = ("general@v1", "sql@v1")) -> CostTable:
    """Ten tokens an answer; ``sql`` halves the runs with every token proposed, ``general`` saves one each."""
    runs = np.tile(np.array([[10.0, 9.0, 8.0], [10.0, 5.0, 2.5]]), (len(texts), 1, 1))
    tokens = np.full(len(texts), 10)
    return CostTable(texts, ("sql",) * len(texts), ("general", "sql"), versions, tokens, runs)


class TestPrices:
    def test_a_run_costs_its_width_and_a_draft_step_a_proposed_token(self) -> None:
        """w(k) + k c."""
        prices = Prices(draft=(0.1, 0.5), width=(1.0, 1.2, 1.4))

        assert_allclose(prices.runs(1), [1.0, 1.7, 2.4])

    def test_where_width_and_drafts_cost_nothing_every_draft_proposes_most(self) -> None:
        """Costs are then target runs."""
        assert table().best_lengths(FREE) == (2, 2)
        assert_allclose(table().costs(FREE), [[8.0, 2.5]] * 3)

    def test_where_no_draft_pays_all_cost_what_plain_decoding_does(self) -> None:
        """Length 0 is a length."""
        assert table().best_lengths(Prices((0.2, 0.2), (1.0, 1.1, 1.2))) == (2, 2)
        dear = Prices((2.0, 2.0), (1.0, 1.1, 1.2))

        assert table().best_lengths(dear) == (0, 0)
        assert_allclose(table().costs(dear), [[10.0, 10.0]] * 3)

    def test_the_length_is_the_table_s_and_not_the_prompt_s(self) -> None:
        """Nobody knows a prompt's own best length before it is answered."""
        runs = np.array([[[10.0, 5.0, 9.0]], [[100.0, 90.0, 50.0]]])
        two = CostTable(("a", "b"), ("", ""), ("sql",), ("sql@v1",), np.array([10, 100]), runs)

        assert_allclose(two.costs(Prices((0.0,), (1.0, 1.0, 1.0))), [[9.0], [50.0]])

    def test_the_length_is_right_for_answers_with_their_best_draft(self) -> None:
        """A draft alone would propose little here, because of an answer that another draft serves better."""
        own, other = [10.0, 6.0, 5.0], [100.0, 50.0, 90.0]
        runs = np.array([[own, [10.0, 9.0, 9.0]], [other, [100.0, 20.0, 15.0]]])
        two = CostTable(("a", "b"), ("", ""), ("sql", "general"), ("sql@v1", "general@v1"), np.array([10, 100]), runs)

        assert two.select(["sql"]).best_lengths(Prices((0.0,), FREE.width)) == (1,)
        assert two.best_lengths(FREE) == (2, 2)
        assert_allclose(two.costs(FREE), [[5.0, 9.0], [90.0, 15.0]])

    def test_lengths_of_another_table_can_be_used(self) -> None:
        """Those chosen on prompts to learn from are what held-out ones cost at."""
        assert_allclose(table().costs(FREE, lengths=(0, 1)), [[10.0, 5.0]] * 3)
        with pytest.raises(ValueError, match="lengths"):
            table().costs(FREE, lengths=(0, 3))

    def test_answers_that_a_draft_was_not_scored_on_cost_nan_and_count_for_nothing(self) -> None:
        """A column may have gaps."""
        runs = table().runs.copy()
        runs[0, 1] = np.nan
        costs = replace(table(), runs=runs).costs(FREE)

        assert np.isnan(costs[0, 1])
        assert_allclose(costs[1:, 1], 2.5)

    def test_prices_of_other_drafts_or_lengths_are_refused(self) -> None:
        """They would be somebody else's."""
        with pytest.raises(ValueError, match="prices of 1 drafts"):
            table().costs(Prices((0.0,), (1.0, 1.0, 1.0)))


class TestParts:
    def test_rows_are_taken_by_number_or_flag_in_the_order_asked_for(self) -> None:
        """As with an array."""
        assert table().rows([2, 0]).texts == ("c", "a")
        assert table().rows(np.array([False, True, False])).texts == ("b",)
        assert len(table().rows([])) == 0

    def test_selected_drafts_take_their_versions_along(self) -> None:
        """Columns move together."""
        chosen = table().select(["sql"])

        assert (chosen.drafts, chosen.versions) == (("sql",), ("sql@v1",))
        assert_allclose(chosen.runs[0], [[10.0, 5.0, 2.5]])

    def test_shapes_that_do_not_fit_are_refused(self) -> None:
        """At once, not at the first use."""
        with pytest.raises(ValueError, match="do not fit"):
            replace(table(), texts=("a",))
        with pytest.raises(ValueError, match="twice"):
            replace(table(), drafts=("sql", "sql"))


class TestMerging:
    def test_a_prompt_in_two_tables_keeps_the_later_rows(self) -> None:
        """So that growing logs may be merged again and again."""
        newer = replace(table(("b", "d")), tokens=np.array([20, 20]))
        both = merge([table(), newer])

        assert both.texts == ("a", "c", "b", "d")
        assert both.tokens.tolist() == [10, 10, 20, 20]

    def test_rows_of_an_older_version_are_not_passed_off_as_the_new_one_s(self) -> None:
        """They are NaN until somebody scores them again."""
        both = merge([table(("a",)), table(("b",), ("general@v1", "sql@v2"))])

        assert both.versions == ("general@v1", "sql@v2")
        assert both.scored.tolist() == [[True, False], [True, True]]

    def test_drafts_of_all_tables_are_there(self) -> None:
        """In the order of their first appearance."""
        assert merge([table().select(["sql"]), table(("d",)).select(["general"])]).drafts == ("sql", "general")

    def test_no_table_is_an_error(self) -> None:
        """There would be no drafts."""
        with pytest.raises(ValueError, match="no table"):
            merge([])


class TestFiles:
    def test_what_was_saved_is_loaded_to_the_last_bit(self, tmp_path: Path) -> None:
        """NaN included; a second table replaces the first."""
        runs = table().runs.copy()
        runs[1, 0] = np.nan
        kept = replace(table(), runs=runs, texts=("a", "\u2028", "ü"))
        table().save(tmp_path)
        kept.save(tmp_path)
        loaded = CostTable.load(tmp_path)

        assert loaded.digest == kept.digest != table().digest
        assert loaded.texts == kept.texts
        np.testing.assert_array_equal(loaded.runs, runs)
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_kill_between_the_two_files_leaves_the_old_table(self, tmp_path: Path) -> None:
        """The header decides."""
        table().save(tmp_path)
        header = (tmp_path / HEADER).read_bytes()
        table(("x",)).save(tmp_path / "other")
        for arrays in (tmp_path / "other").glob("*.safetensors"):
            arrays.rename(tmp_path / arrays.name)
        (tmp_path / HEADER).write_bytes(header)

        assert CostTable.load(tmp_path).digest == table().digest

    def test_damage_is_refused_with_a_line(self, tmp_path: Path) -> None:
        """A flipped byte, a missing file, a header that is not one, rows that are missing."""
        table().save(tmp_path)
        header = json.loads((tmp_path / HEADER).read_text())
        arrays = tmp_path / header["arrays"]
        good = arrays.read_bytes()

        arrays.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(RouterError, match="damaged"):
            CostTable.load(tmp_path)
        arrays.write_bytes(good)
        (tmp_path / HEADER).write_text(json.dumps({**header, "texts": ["a"]}))
        with pytest.raises(RouterError, match="damaged"):
            CostTable.load(tmp_path)
        (tmp_path / HEADER).write_text("{")
        with pytest.raises(RouterError, match="not JSON"):
            CostTable.load(tmp_path)
        (tmp_path / HEADER).write_text(json.dumps({**header, "format": 99}))
        with pytest.raises(RouterError, match="format 1"):
            CostTable.load(tmp_path)
        (tmp_path / HEADER).unlink()
        with pytest.raises(RouterError, match=r"no costs\.json"):
            CostTable.load(tmp_path)
