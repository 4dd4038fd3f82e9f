"""`polydraft router hedge` on answers made up for it."""

import numpy as np
import pytest
import torch

from benchmarks.hedge import ALONE, HedgeTrial, _compare, _row, _trials, run_hedge
from benchmarks.router_labels import Part
from configs.errors import ConfigError
from router.costs import Prices
from training.labels.questions import Question
from training.labels.table import tabulate
from training.replay import Acceptance

PRICES = Prices((0.1, 0.1), (1.0, 1.1, 1.2, 1.3))
PREDICTED = np.tile([0.5, 0.52], (8, 1))


def part():
    """Eight answers of 40 tokens; the first draft is always wrong and the second one always right."""
    scores = {
        name: [Acceptance(torch.full((40,), value, dtype=torch.float64), 1, 100) for _ in range(8)]
        for name, value in (("general", 0.0), ("sql", 1.0))
    }
    questions = [Question(str(number), "sql") for number in range(8)]
    table = tabulate(questions, scores, {"general": "general@v1", "sql": "sql@v1"}, 3)
    return Part(table, np.zeros((8, 2), np.float32), list(scores.values()), [10] * 8)


def rows(predicted, row=0.01):
    held = part()
    found = [_row(each, held) for each in _trials(held, predicted, 3, PRICES, row)]
    for each in found:
        _compare(each, found[0], held)
    return {each["rule"]: each for each in found}


class TestRows:
    def test_a_router_alone_costs_what_its_draft_does(self):
        """The one that it predicts to be cheaper, to the end."""
        alone = rows(PREDICTED)[ALONE]
        assert alone["runs_per_1000_tokens"] == 1000
        assert alone["cost_per_token"] == alone["cost_per_token_free"] == pytest.approx(1.3 + 0.3)
        assert (alone["switches"], alone["reads"], alone["saved"]) == (0, 0, 0)

    def test_a_wrong_choice_is_mended_for_less_than_it_costs(self):
        """One change at the first look; what is saved has an interval."""
        found = rows(PREDICTED)["2 drafts, 1 looks, every 8 tokens"]
        assert (found["switches"], found["reads"], found["rows"]) == (1, 1, 18)
        assert found["cost_per_token"] == pytest.approx(found["cost_per_token_free"] + (0.1 + 17 * 0.01) / 40)
        assert 0 < found["saved_low"] <= found["saved"] <= found["saved_high"]

    def test_a_right_choice_is_only_made_dearer(self):
        """By the forwards of the other draft."""
        found = rows(PREDICTED[:, ::-1])["2 drafts, 2 looks, every 8 tokens"]
        assert found["switches"] == 0
        assert found["saved_high"] < 0
        assert found["cost_per_token_free"] == rows(PREDICTED[:, ::-1])[ALONE]["cost_per_token"]

    def test_more_drafts_than_there_are_are_no_rule(self):
        """With two drafts, two are compared."""
        assert all(name == ALONE or name.startswith("2 drafts") for name in rows(PREDICTED))


def test_an_unknown_kind_is_refused():
    """With those that there are."""
    with pytest.raises(ConfigError, match="--kind oracle"):
        run_hedge(None, HedgeTrial(None, None, kind="oracle"))
