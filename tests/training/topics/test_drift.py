"""Drift of queries and of acceptance: seen where it is, and not where it is not."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from benchmarks.drift import drift_report
from decoding.request import SamplingParams
from registry.version import Version
from tests.router.stub_encoder import StubEncoder
from tests.toy_traces import make_trace
from tests.training.online.streams import stream
from training.replay import Acceptance, acceptances, mean_acceptance
from training.topics.drift import LEVEL, TOLERATED, Drift, drifted, expected_alpha, shortfall_wealth, verdicts
from training.topics.traffic import Traffic

WORDS = "select table rows count join column where group order limit".split()  # noqa: SIM905


def version(folder: Path = Path(), **tags: str) -> Version:
    given = {"topic": "sql", **tags}
    return Version("starter-draft-sql", 1, ("champion",), folder, given, None, datetime.now(UTC))


def replayed(count: int, alpha: float, seed: int) -> list[Acceptance]:
    """Answers of 20 to 60 tokens, accepted one by one with a chance that varies by answer."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        size = int(torch.randint(20, 60, (1,), generator=draw))
        chance = min(1.0, max(0.0, alpha + 0.1 * float(torch.randn(1, generator=draw))))
        found.append(Acceptance((torch.rand(size, generator=draw) < chance).double(), 1, size + 1))
    return found


class TestAcceptance:
    def test_the_alarm_is_as_rare_as_the_level_where_acceptance_is_as_tolerated(self):
        """The negative control, at the edge of the null: 100 streams at level 0.05, at most 12 alarms."""
        wealths = [shortfall_wealth(replayed(200, 0.7 - TOLERATED, s), [0.7] * 200) for s in range(100)]
        assert sum(wealth >= 1 / 0.05 for wealth in wealths) <= 12

    def test_acceptance_as_registered_raises_no_alarm(self):
        assert all(shortfall_wealth(replayed(200, 0.7, s), [0.7] * 200) < 1 / LEVEL for s in range(30))

    def test_a_fall_beyond_what_is_tolerated_is_seen(self):
        assert all(shortfall_wealth(replayed(200, 0.58, s), [0.7] * 200) > 20 / LEVEL for s in range(5))

    def test_what_is_expected_follows_the_temperature_of_the_answer(self):
        trace = make_trace(sampling=SamplingParams(temperature=0.5))
        assert expected_alpha(version(alpha="0.8", alpha_t1="0.6"), trace) == pytest.approx(0.7)
        assert expected_alpha(version(alpha="0.8"), trace) == pytest.approx(0.8)

    def test_answers_of_which_nothing_can_be_proposed_say_nothing(self):
        assert shortfall_wealth([Acceptance(torch.ones(1).double(), 1, 1)], [0.7]) == 1


def traffic(traces, words: list[str], changed_from: int, others: list[str]) -> Traffic:
    """Queries of a few words each; other words from a place on."""
    queries = []
    for place in range(len(traces)):
        of = others if place >= changed_from else words
        queries.append(" ".join(of[(place * k) % len(of)] for k in (1, 3, 7)))
    return Traffic(tuple(traces), tuple(queries))


class TestReport:
    @pytest.fixture(scope="class")
    def traces(self, models):
        """240 answers: 200 newest, 40 before."""
        return stream(*models, 240)

    def look(self, traces, models, changed_from=10_000, alpha=None):
        drafts = {"sql": version(models[1], **({} if alpha is None else {"alpha": str(alpha)}))}
        seen = traffic(traces, WORDS, changed_from, "weather song alarm calendar flight".split())  # noqa: SIM905
        return drift_report(Drift(seen, StubEncoder(), drafts, "general"), "polydraft topics drift")

    def test_nothing_drifts_where_nothing_changes(self, traces, models, tmp_path):
        from decoding.load import load_model

        alpha = mean_acceptance(acceptances(load_model(models[1], 16, 64), traces))
        report = self.look(traces, models, alpha=alpha)
        assert drifted(report.rows) == []
        assert [row["topic"] for row in report.rows] == ["sql", "all"]
        assert report.rows[0]["alpha"] == pytest.approx(alpha, abs=0.05)
        assert {path.suffix for path in report.save(tmp_path)} == {".json", ".md", ".png"}

    def test_other_queries_are_seen(self, traces, models):
        """In the topic, and in all together; acceptance has nothing to be compared with."""
        report = self.look(traces, models, changed_from=120)
        assert drifted(report.rows) == ["sql: queries", "all: queries"]
        assert report.facts["drifted"] == ["sql: queries", "all: queries"]

    def test_acceptance_below_what_was_registered_is_seen(self, traces, models):
        assert drifted(self.look(traces, models, alpha=0.9).rows) == ["sql: acceptance"]

    def test_too_little_traffic_says_nothing(self, traces, models):
        rows = self.look(traces[:30], models, changed_from=15, alpha=0.9).rows
        assert rows[0]["queries_drift"] is None
        assert rows[0]["acceptance_drift"] is None
        assert verdicts(rows)["sql"] == {}

    def test_requests_without_a_topic_are_the_general_draft_s(self, traces, models):
        rows = self.look([replace(trace, topic=None) for trace in traces], models).rows
        assert rows[0]["topic"] == "general"
