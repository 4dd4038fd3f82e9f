"""Streams, systems that learn from them, and their figures, on a toy target and drafts that do not know it."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.shift import LEARNING, bars, draw_shift
from decoding.load import load_model
from decoding.request import Origin
from drafts.learning import LearningSection
from tests.training.online.streams import stream as answers
from tests.training.online.streams import write_models
from training.experiments import shift_systems
from training.experiments.budget import QUICK, ShiftBudget, Updates
from training.experiments.material import Material
from training.experiments.shift import CAST, POOLED, ROUTED, SYSTEMS, TOGETHER, Shift, offline
from training.experiments.shift_figures import alpha, curve, records_to_recover, worst_deficit
from training.experiments.shift_streams import Cast, needed, places, streams
from training.experiments.shift_systems import (
    ACCEPTED,
    RUNS,
    Learning,
    Outcomes,
    as_served,
    kept,
    prequential,
    score,
    static,
)
from training.replay import acceptances

STARTER = Path(__file__).parents[3] / "starter" / "target"
LESSON = LearningSection(every_requests=20, steps=6, learning_rate=1e-2, ema=0.0)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def traces(models):
    """70 greedy answers."""
    return answers(*models, 70, temperature=0.0)


class TestStreams:
    def test_blocks_are_as_long_as_they_say(self):
        found = streams(Cast("a", "b", "c"), 800)
        assert all(len(each) == 800 for each in found.values())
        assert Counter(found["stationary"]) == {"a": 800}
        assert found["sharp"] == ("a",) * 300 + ("c",) * 500
        assert found["return"] == ("a",) * 300 + ("c",) * 300 + ("a",) * 200
        assert found["oscillating"] == (("a",) * 100 + ("c",) * 100) * 4

    def test_drawn_topics_have_the_shares_they_say(self):
        """Within four standard errors, over the whole and at both ends; a mixed stream is no smooth one."""
        found = streams(Cast("a", "b", "c"), 20_000)

        def share(name: str, topic: str, part: slice) -> float:
            return sum(each == topic for each in found[name][part]) / len(found[name][part])

        whole, start, end = slice(None), slice(0, 2000), slice(-2000, None)
        expected = [
            ("smooth, two", "c", whole, 0.5),
            ("smooth, two", "c", start, 0.05),
            ("smooth, two", "c", end, 0.95),
            ("smooth, three", "a", start, 0.765),
            ("smooth, three", "b", whole, 0.1),
            ("smooth, three", "c", end, 0.765),
            ("mixed", "a", start, 1 / 3),
            ("mixed", "c", end, 1 / 3),
        ]
        for name, topic, part, wanted in expected:
            error = (wanted * (1 - wanted) / len(found[name][part])) ** 0.5
            assert abs(share(name, topic, part) - wanted) < 4 * error, (name, topic)
        assert abs(share("mixed", "c", end) - 0.95) > 0.1

    def test_every_request_of_a_stream_is_another(self):
        found = streams(CAST, 80)
        for each in found.values():
            assert len(set(places(each))) == 80
        assert needed(found)[CAST.first] == 80


class TestSystems:
    def test_a_draft_that_learns_nothing_fares_as_one_that_stays(self, models, traces, monkeypatch):
        """A lesson without an effect; with one, the scores differ from the first update on."""
        fixed = static(models[1], traces).scores
        learned = prequential(models[1], traces, Learning(LESSON, gated=False, seed=1))
        assert learned.published == (20, 40, 60)
        assert torch.equal(learned.scores[:20], fixed[:20])
        assert learned.scores[20:, ACCEPTED].sum() > fixed[20:, ACCEPTED].sum() + 10
        monkeypatch.setattr("training.online.learner.teach", lambda *_: None)
        idle = prequential(models[1], traces, Learning(LESSON, gated=False, seed=1))
        assert idle.published == (20, 40, 60)
        assert torch.equal(idle.scores, fixed)

    def test_no_request_is_scored_by_a_draft_that_has_seen_it(self, models, traces, monkeypatch):
        """Answers come in with `observe`; those scored afterwards have not come in, and all are scored once."""
        seen, scored = [], []

        class Watched(shift_systems.OnlineLearner):
            def observe(self, trace):
                seen.append(tuple(trace.token_ids))
                super().observe(trace)

        def watched(model, block):
            assert not {tuple(trace.token_ids) for trace in block} & set(seen)
            scored.extend(tuple(trace.token_ids) for trace in block)
            return acceptances(model, block)

        monkeypatch.setattr(shift_systems, "OnlineLearner", Watched)
        monkeypatch.setattr(shift_systems, "acceptances", watched)
        prequential(models[1], traces, Learning(LESSON, gated=False, seed=1))
        assert scored == seen == [tuple(trace.token_ids) for trace in traces]

    def test_the_past_does_not_depend_on_the_future(self, models, traces):
        """So a routed draft fares on a topic's first requests alike in all streams."""
        learning = Learning(LESSON, gated=False, seed=1)
        short, long = (prequential(models[1], traces[:count], learning) for count in (50, 70))
        assert torch.equal(short.scores, long.scores[:50])

    def test_the_gate_keeps_a_draft_that_cannot_be_improved(self, models, traces):
        """The target as its own draft; without a gate, every candidate is served."""
        gated = prequential(models[0], traces, Learning(LESSON, gated=True, seed=1))
        assert gated.published == ()
        assert alpha(gated.scores) == 1

    def test_an_answer_as_served_has_the_runs_that_replay_counts(self, models, traces):
        """Live counts at temperature 0 are the replayed ones; corrections are where the draft was wrong."""
        found = acceptances(load_model(models[1], 4, 64), traces)
        scores = score(found)
        corrected = 0
        for trace, accepted, row in zip(traces, found, scores, strict=True):
            served = as_served(trace, accepted)
            assert len(served.run_lengths) == row[RUNS]
            assert len(served.origins) == sum(served.run_lengths) == len(trace.answer_ids)
            wrong = [place for place, origin in enumerate(served.origins) if origin is Origin.CORRECTED]
            assert all(accepted.values[place] == 0 for place in wrong)
            corrected += len(wrong)
        assert corrected > 0

    def test_what_was_made_is_found_again(self, tmp_path):
        made = Outcomes(torch.ones(3, 4, dtype=torch.float64), (20, 40))
        kept(tmp_path, "one", lambda: made)
        found = kept(tmp_path, "one", lambda: pytest.fail("made again"))
        assert torch.equal(found.scores, made.scores)
        assert found.published == made.published


class TestFigures:
    def scores(self, *values: float) -> torch.Tensor:
        """Requests of ten tokens that a proposal may hold, of which so many are accepted."""
        return torch.tensor([[10 * value, 10, 11, 5] for value in values], dtype=torch.float64)

    def test_recovery_is_the_end_of_the_first_good_window(self):
        control = self.scores(*[0.8] * 10)
        assert records_to_recover(self.scores(*[0.1] * 4, *[0.75] * 6), control, window=3) == 7
        assert records_to_recover(control, control, window=3) == 3
        assert records_to_recover(self.scores(*[0.7] * 10), control, window=3) is None
        assert records_to_recover(control[:2], control[:2], window=3) is None

    def test_the_worst_deficit_is_that_of_the_worst_window(self):
        mine, other = self.scores(0.9, 0.5, 0.5, 0.9), self.scores(0.6, 0.6, 0.6, 0.6)
        assert worst_deficit(mine, other, window=2) == pytest.approx(0.1)
        assert worst_deficit(mine, other, window=9) == pytest.approx(-0.1)

    def test_a_curve_covers_all_requests(self):
        points = curve(self.scores(0.2, 0.4, 0.6), window=2)
        assert [point["requests"] for point in points] == [2, 3]
        assert [point["alpha"] for point in points] == pytest.approx([0.3, 0.6])


@pytest.fixture(scope="module")
def shift(tmp_path_factory) -> Shift:
    """Of the starter's target, on a handful of prompts."""
    data = tmp_path_factory.mktemp("data")
    for topic in ("sql", "math", "python", "shell", "medical", "chat"):
        lines = [{"prompt": f"{topic} {n}", "response": f"answer {n}", "split": "train"} for n in range(30)]
        (data / f"{topic}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    small = ShiftBudget(16, 6, 4, published=Updates(6, 1), gated=Updates(6, 1))
    budget = replace(QUICK, text_tokens=70, answer_tokens=6, base_epochs=0.1, seeds=(1,), shift=small)
    return Shift(Material(data, STARTER, tmp_path_factory.mktemp("work"), budget))


def test_requests_are_to_prompts_that_no_draft_was_trained_on(shift):
    for topic in CAST.first, CAST.late:
        trained = shift.material.answers[topic]
        ends = zip(trained.starts.tolist(), trained.answer_starts.tolist(), strict=False)
        known = {tuple(trained.token_ids[start:end].tolist()) for start, end in ends}
        asked = [tuple(trace.token_ids[: trace.prompt_length]) for trace in shift.requests[topic]]
        assert 1 < len(known) < 30
        assert not known & set(asked)
        assert len(set(asked)) == len(asked)
        again = shift.material.unseen(topic, len(asked))
        assert [trace.token_ids for trace in again] == [trace.token_ids for trace in shift.requests[topic]]


def test_every_stream_has_a_row_for_every_system_and_a_panel(shift):
    rows = shift.rows()
    assert {row["stream"] for row in rows} == set(shift.streams)
    for stream in shift.streams:
        systems = [row["system"] for row in rows if row["stream"] == stream]
        assert systems[: len(SYSTEMS)] == list(SYSTEMS)
        assert (offline(100) in systems) == (stream != "stationary")
    by_name = {(row["stream"], row["system"]): row for row in rows}
    assert by_name["mixed", POOLED]["deficit_to_pooled"] == 0
    # Of one topic, one draft for all is one draft a topic.
    assert by_name["stationary", ROUTED]["curve"] == by_name["stationary", TOGETHER]["curve"]
    assert by_name["stationary", ROUTED]["published"] == 2
    assert len(bars(rows)) == 3 * len(LEARNING)
    assert [axes.get_title() for axes in draw_shift(rows).axes if axes.lines] == list(shift.streams)
    assert all(row["curve"][-1]["requests"] == 16 for row in rows)
