"""Kinds of routers on made-up costs: what they learn, what they must not find, and that files keep every bit."""

from dataclasses import replace

import numpy as np
import pytest

from router.kinds import KINDS, ExpectedKind, RegressionKind, RouterKind, TopicKind
from router.kinds.references import always_general, oracle, topic_label
from tests.router.toy_costs import DRAFTS, PRICES, TOPICS, toy_costs

ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def regret(fitted: RouterKind, seed: int = 7) -> float:
    """Of new prompts, in plain target runs a thousand tokens."""
    embeddings, table = toy_costs(seed=seed)
    costs = fitted.menu.costs(table)
    chosen = costs[np.arange(len(table)), fitted.choose(embeddings)]
    return float(1000 * (chosen - costs.min(axis=1)).sum() / table.tokens.sum())


class TestEveryKind:
    @ALL
    def test_it_finds_each_topic_s_draft_from_costs_and_embeddings(self, kind: type[RouterKind]) -> None:
        """Prompts that it has not seen cost what the best draft costs."""
        assert regret(kind.fit(*toy_costs(), PRICES, seed=0)) < 1.0

    @ALL
    def test_from_embeddings_that_say_nothing_it_learns_nothing(self, kind: type[RouterKind]) -> None:
        """The control of the test above: the same figure must be able to fail."""
        embeddings, table = toy_costs()
        shuffled = np.random.default_rng(1).permutation(embeddings)

        assert regret(kind.fit(shuffled, table, PRICES, seed=0)) > 20.0

    @ALL
    def test_predictions_are_costs_a_token(self, kind: type[RouterKind]) -> None:
        """Near what was measured on the prompts of the topic."""
        embeddings, table = toy_costs()
        fitted = kind.fit(embeddings, table, PRICES, seed=0)
        measured = fitted.menu.costs(table) / table.tokens[:, None]

        assert fitted.predict(embeddings).shape == measured.shape
        assert np.abs(fitted.predict(embeddings) - measured).mean() < 0.05

    @ALL
    def test_the_same_input_and_seed_give_the_same_bits(self, kind: type[RouterKind]) -> None:
        """So that training again registers nothing new."""
        first, second = (kind.fit(*toy_costs(), PRICES, seed=3).to_arrays() for _ in range(2))

        assert first.keys() == second.keys()
        for name, array in first.items():
            assert array.dtype == np.float32, name
            np.testing.assert_array_equal(array, second[name])

    @ALL
    def test_arrays_bring_back_every_decision(self, kind: type[RouterKind]) -> None:
        """To the last bit of the predictions."""
        fitted = kind.fit(*toy_costs(), PRICES, seed=0)
        back = kind.from_arrays(fitted.menu.drafts, fitted.to_arrays())
        embeddings, _ = toy_costs(seed=5)

        np.testing.assert_array_equal(back.predict(embeddings), fitted.predict(embeddings))
        np.testing.assert_array_equal(back.choose(embeddings), fitted.choose(embeddings))

    @ALL
    def test_prompts_that_not_every_draft_was_scored_on_are_left_out(self, kind: type[RouterKind]) -> None:
        """They cannot say which draft is best; nor may they make numbers NaN."""
        embeddings, table = toy_costs()
        runs = table.runs.copy()
        runs[::5, 2] = np.nan
        holes = kind.fit(embeddings, replace(table, runs=runs), PRICES, seed=0)
        kept = np.arange(len(table)) % 5 != 0
        without = kind.fit(embeddings[kept], table.rows(kept), PRICES, seed=0)

        np.testing.assert_array_equal(holes.predict(embeddings), without.predict(embeddings))


class TestWhatTellsThemApart:
    def test_a_topic_that_another_draft_serves_better_gets_that_one_if_costs_count(self) -> None:
        """Names of topics send it to its own."""
        embeddings, table = toy_costs(alphas={("chat", "chat"): 0.3, ("chat", "math"): 0.7})
        chat = np.array(table.groups) == "chat"
        by_name = TopicKind.fit(embeddings, table, PRICES, seed=0)
        by_cost = ExpectedKind.fit(embeddings, table, PRICES, seed=0)

        assert {DRAFTS[i] for i in by_name.choose(embeddings[chat])} == {"chat"}
        assert {DRAFTS[i] for i in by_cost.choose(embeddings[chat])} == {"math"}

    def test_between_two_topics_the_one_with_the_longer_answers_weighs_more(self) -> None:
        """A wrong draft costs them more, so that expected cost leans to theirs where names are a toss-up."""
        embeddings, table = toy_costs()
        long = np.where(np.array(table.groups) == "math", 10, 1)
        table = replace(table, tokens=table.tokens * long, runs=table.runs * long[:, None, None])
        fitted = ExpectedKind.fit(embeddings, table, PRICES, seed=0)
        between = (np.eye(12)[:1] + np.eye(12)[1:2]).astype(np.float32) / np.float32(2**0.5)
        sure = fitted.probabilities(between)[0, [1, 2]]

        assert abs(sure[0] - sure[1]) < 0.3
        assert DRAFTS[int(fitted.choose(between)[0])] == "math"

    def test_a_name_without_a_draft_leads_to_the_general_one(self) -> None:
        """Out of scope is such a name."""
        embeddings, table = toy_costs()
        groups = tuple("out_of_scope" if group == "chat" else group for group in table.groups)
        fitted = TopicKind.fit(embeddings, replace(table, groups=groups), PRICES, seed=0)
        chat = np.array(table.groups) == "chat"

        assert {DRAFTS[i] for i in fitted.choose(embeddings[chat])} == {"general"}

    def test_a_difference_within_a_standard_error_leaves_the_regression_with_the_general_draft(self) -> None:
        """With few prompts and much noise; with many, the same difference is enough."""
        alphas = {(topic, topic): 0.62 for topic in TOPICS}
        few = RegressionKind.fit(*toy_costs(4, alphas=alphas, noise=0.15), PRICES, seed=0)
        many = RegressionKind.fit(*toy_costs(400, alphas=alphas, noise=0.15), PRICES, seed=0)
        embeddings, table = toy_costs(seed=9)
        own = topic_label(few.menu, table)

        assert (few.choose(embeddings) == own).mean() < 0.5 < 0.8 < (many.choose(embeddings) == own).mean()

    def test_standard_errors_fall_with_the_number_of_prompts(self) -> None:
        """As one over its root, about; that of the general draft is nothing."""
        embeddings, _ = toy_costs(seed=9)
        few, many = (
            RegressionKind.fit(*toy_costs(number, noise=0.1), PRICES, seed=0).standard_errors(embeddings)
            for number in (50, 800)
        )

        assert not few[:, 0].any()
        assert 2.5 < few[:, 1:].mean() / many[:, 1:].mean() < 6.0


class TestReferences:
    def test_the_oracle_costs_least_and_the_label_is_the_group_s_draft(self) -> None:
        """The general draft costs more, a draft thrown for more still."""
        embeddings, table = toy_costs(noise=0.3)
        menu = TopicKind.fit(embeddings, table, PRICES, seed=0).menu
        costs = menu.costs(table)
        chosen = [oracle(menu, table), topic_label(menu, table), always_general(menu, table)]
        best, label, general = (costs[np.arange(len(table)), each].sum() for each in chosen)

        assert best < label < general < costs.mean(axis=1).sum()
        assert [DRAFTS[i] for i in chosen[1]] == list(table.groups)
