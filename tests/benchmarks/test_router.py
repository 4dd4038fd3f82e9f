"""`bench router`: regret is counted right, the verdict says what the intervals say, and a run has every router."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from benchmarks import router
from benchmarks.misleading import MISLEADING
from benchmarks.prompts import OWN
from benchmarks.regret import Outcome, acceptance_length, difference, figures
from benchmarks.router import DEPLOYED, HEDGE, LABEL, RouterTrial, run_router, verdict
from router.kinds import KINDS, Menu
from router.kinds.references import oracle, topic_label
from tests.router.routers import toy_router
from tests.router.stub_encoder import StubEncoder
from tests.router.toy_costs import PRICES, toy_costs


def outcomes(noise=0.02, **settings):
    """Oracle, topic labels, the wrong draft for everybody, and a throw, on made-up costs."""
    _, table = toy_costs(noise=noise, **settings)
    menu = Menu.of(table, PRICES)
    wrong = (topic_label(menu, table) % 3) + 1
    chosen = {"oracle": oracle(menu, table), LABEL: topic_label(menu, table), "wrong": wrong}
    found = {name: Outcome.of(menu, table, choices) for name, choices in chosen.items()}
    return {**found, "random": Outcome.thrown(menu, table)}, table


class TestRegret:
    def test_it_is_what_the_best_draft_would_have_saved_a_thousand_tokens(self):
        """By hand: two prompts, the second one given the dearer draft."""
        zeros = np.zeros(2)
        best = Outcome(np.array([10.0, 20.0]), np.array([5.0, 10.0]), np.ones(2))
        mine = Outcome(np.array([10.0, 26.0]), np.array([5.0, 13.0]), np.array([1.0, 0.0]))
        thrown = Outcome(best.costs + 12, best.runs + 6, zeros)
        found = figures("mine", {"mine": mine, "oracle": best, "random": thrown}, np.array([40.0, 60.0]))
        assert found["regret"] == pytest.approx(1000 * 6 / 100)
        assert found["below_random"] == pytest.approx(1000 * 18 / 100)
        assert found["cost_per_token"] == pytest.approx(0.36)
        assert found["tokens_per_target_run"] == pytest.approx(100 / 18)
        assert found["mean_acceptance_length"] == pytest.approx(98 / 16)
        assert found["share_of_oracle"] == pytest.approx(13 / 16)
        assert found["best_share"] == 0.5

    def test_the_oracle_has_none_and_everybody_else_some(self):
        """Intervals hold the means; whoever knows the topic is far below a throw, the wrong draft above."""
        found, table = outcomes()
        rows = {name: figures(name, found, table.tokens.astype(float)) for name in found}
        assert rows["oracle"]["regret"] == rows["oracle"]["regret_high"] == 0
        assert rows["oracle"]["share_of_oracle"] == rows["oracle"]["share_of_oracle_low"] == 1
        assert 0 <= rows[LABEL]["regret"] < rows["random"]["regret"] < rows["wrong"]["regret"]
        assert rows["wrong"]["below_random_high"] < 0 < rows[LABEL]["below_random_low"]
        for row in rows.values():
            for key in ("regret", "below_random", "share_of_oracle"):
                assert row[f"{key}_low"] <= row[key] <= row[f"{key}_high"]

    def test_intervals_cover_the_truth_about_as_often_as_they_say(self):
        """Forty draws of prompts, each with its own interval; a narrower one would miss more often."""
        _, everything = outcomes_of_seed(1000, per_topic=2000)
        truth = everything["regret"]
        held = [each["regret_low"] <= truth <= each["regret_high"] for each in map(regret_of_seed, range(40))]
        assert np.mean(held) >= 0.8
        assert np.mean([abs(regret_of_seed(seed)["regret"] - truth) > 1e-9 for seed in range(3)]) == 1

    def test_acceptance_length_leaves_the_run_out_that_reads_the_prompt(self):
        """Ten tokens in four runs: one, then nine in three."""
        assert acceptance_length(np.array([4.0]), np.array([10.0])) == pytest.approx(3.0)

    def test_a_difference_is_signed(self):
        """What the first costs more."""
        found, table = outcomes()
        mean, low, high = difference(found["wrong"], found[LABEL], table.tokens.astype(float))
        assert 0 < low < mean < high


def outcomes_of_seed(seed, per_topic=40):
    found, table = outcomes(noise=0.2, seed=seed, per_topic=per_topic)
    return found, figures(LABEL, found, table.tokens.astype(float))


def regret_of_seed(seed):
    return outcomes_of_seed(seed)[1]


class TestVerdict:
    def whole(self, deployed, best, noise=0.1):
        found, table = outcomes(noise=noise)
        others = dict.fromkeys((*KINDS, HEDGE), found[LABEL])
        return verdict({**found, **others, "regression": found[best], DEPLOYED: found[deployed]}, table)

    def test_a_router_that_does_as_well_as_any_is_said_to_serve(self):
        """Nothing is lower, nothing is beaten either."""
        notes, facts = self.whole(deployed=LABEL, best="wrong")
        assert facts["lowest_regret"] == DEPLOYED
        assert (facts["beats_topic_label"], facts["oracle_share_reached"]) == (False, True)
        assert notes[1].endswith("the router that serves")
        assert "NO difference shown" in notes[2]

    def test_a_poor_router_is_told_on(self):
        """Who is better, by how much, and that the oracle is far."""
        notes, facts = self.whole(deployed="wrong", best=LABEL)
        assert not facts["oracle_share_reached"]
        assert "LESS THAN 98%" in notes[0]
        assert facts["deployed_over_lowest"][1] > 0
        assert notes[1].endswith("a difference")

    def test_beating_names_of_topics_takes_an_interval_below_zero(self):
        """The oracle does."""
        _, facts = self.whole(deployed="oracle", best="wrong", noise=0.3)
        assert facts["beats_topic_label"]
        assert facts["deployed_over_topic_label"][2] < 0


class TestMisleadingPrompts:
    def test_questions_on_tables_name_neither_sql_nor_its_words(self):
        """That is what misleads."""
        assert len(MISLEADING["sql"]) >= 10
        assert not [text for text in MISLEADING["sql"] if re.search(r"\b(sql|select|query|database)\b", text, re.I)]

    def test_code_is_asked_for_without_the_word_python(self):
        """As documentation, or about another topic's things."""
        assert not [text for text in MISLEADING["python"] if "python" in text.lower()]

    def test_no_sentence_is_among_those_to_learn_from(self):
        """Of our own prompts."""
        own = {text for texts in OWN.values() for text in texts}
        misleading = [text for texts in MISLEADING.values() for text in texts]
        assert not own & set(misleading)
        assert len(set(misleading)) == len(misleading)


@pytest.fixture
def deployment(config, tmp_path, monkeypatch):
    """The toy deployment with a toy router, which a stub encoder reads for."""
    toy_router().save(tmp_path / "router")
    document = yaml.safe_load(config.read_text())
    document["router"] = {"model": str(tmp_path / "router"), "embedding": "stub", "max_tokens": 64}
    file = tmp_path / "routed.yaml"
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setattr(router, "load_encoder", lambda *_: StubEncoder())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return file


GIVEN = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4)


def test_a_run_has_every_router_and_says_it_again_from_what_it_kept(deployment, tmp_path):
    """Held-out prompts by topic, misleading ones apart; the sql draft is the target, so its topic's oracle is it."""
    trial = RouterTrial(labels=tmp_path / "labels", per_topic=4, held_out=4, tokens=8, c=0.05, w=GIVEN)
    report = run_router(deployment, trial)
    names = [row["router"] for row in report.rows]
    assert names == ["oracle", LABEL, DEPLOYED, *KINDS, HEDGE, "general", "random"]
    rows = {row["router"]: row for row in report.rows}
    assert set(rows["oracle"]["by_group"]) == {"all", "sql", "math", "out_of_scope", "misleading"}
    assert rows["oracle"]["by_group"]["sql"]["best_share"] == 1
    assert rows[LABEL]["by_group"]["sql"]["regret"] == pytest.approx(0)
    assert all(row["regret"] >= 0 for name, row in rows.items() if name != HEDGE)
    sure = rows[DEPLOYED]
    known = 3 * 4  # of the topics that the router knows
    assert sum(size for _, _, size in sure["reliability"]) == sure["topic_prompts"] == known
    assert sure["foreign_prompts"] == 2
    assert [note for note in report.notes if note.startswith(f"{DEPLOYED}: ECE {sure['ece']:.4f}, ")]
    assert not any("ece" in row for name, row in rows.items() if name != DEPLOYED)
    header, lines = report.table()
    assert len(header) == len(lines[0])
    document = json.loads(report.save(tmp_path / "results")[0].read_text())
    assert document["lengths"].keys() == {"general", "sql", "math"}
    answers = sorted((tmp_path / "labels").rglob("*"))
    assert run_router(deployment, replace(trial)).rows == report.rows
    assert sorted((tmp_path / "labels").rglob("*")) == answers
    assert not (tmp_path / "labels" / "costs.json").exists()
