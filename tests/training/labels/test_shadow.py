"""Shadow scoring of a toy log that grows."""

import json
from dataclasses import replace

import numpy as np
import pytest

from configs.errors import ConfigError
from decoding.trace_segment import list_segments
from drafts.pool import DraftSpec
from router.costs import CostTable
from tests.training.online.streams import FINGERPRINT, stream, write_log, write_models
from training.labels import shadow as shadow_module
from training.labels.regret import Regret
from training.labels.shadow import STATE, Shadow, Watch, is_sampled
from training.online.load import Stopped


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def traces(models):
    return stream(*models, 30, temperature=0.0)


def watch(place, models, **changes):
    """``sql`` knows nothing, ``math`` is the target itself."""
    drafts = {"sql": DraftSpec("sql", "sql@v1", models[1]), "math": DraftSpec("math", "math@v1", models[0])}
    settings = {
        "log": place / "log",
        "target": FINGERPRINT,
        "folder": place / "labels",
        "drafts": lambda: drafts,
        "text_of": lambda trace: repr(trace.token_ids[: trace.prompt_length]),
        "share": 1.0,
        "longest": 64,
    }
    return Watch(**{**settings, **changes})


def state(place):
    return json.loads((place / "labels" / STATE).read_text())


class TestCycle:
    def test_every_draft_is_scored_and_the_choice_s_regret_counted(self, tmp_path, models, traces):
        """Chosen were drafts that know nothing, beside one that is always right."""
        write_log(tmp_path / "log", traces)
        shadow = Shadow(watch(tmp_path, models))
        shadow.cycle()
        table = CostTable.load(tmp_path / "labels")
        assert len(table) == 30
        assert (table.drafts, table.groups[0]) == (("sql", "math"), "sql")
        assert (table.runs[:, 1, 4] < table.runs[:, 0, 4]).mean() > 0.9
        sums = shadow.regret.topics["sql"]
        assert (sums.answers, sums.tokens) == (30, table.tokens.sum())
        assert sums.chosen_runs == table.runs[:, 0, 4].sum()
        assert sums.best_runs == table.runs[:, :, 4].min(axis=1).sum()
        lost = 1000 * (sums.chosen_runs - sums.best_runs) / sums.tokens
        assert state(tmp_path)["regret_runs_per_1000_tokens"] == pytest.approx(lost)

    def test_a_log_that_grows_is_counted_once(self, tmp_path, models, traces, monkeypatch):
        """However few traces a cycle takes, and in however many processes."""
        monkeypatch.setattr(shadow_module, "_A_CYCLE", 7)
        write_log(tmp_path / "log", traces[:20])
        for _ in range(3):
            Shadow(watch(tmp_path, models)).cycle()
        write_log(tmp_path / "log", traces[20:])
        last = Shadow(watch(tmp_path, models))
        for _ in range(4):
            last.cycle()
        assert last.regret.topics["sql"].answers == 30
        assert sorted(CostTable.load(tmp_path / "labels").texts) == sorted(
            repr(trace.token_ids[: trace.prompt_length]) for trace in traces
        )

    def test_a_new_version_is_scored_on_the_newest_prompts_and_the_others_are_not(self, tmp_path, models, traces):
        """Nor is an answer counted twice."""
        write_log(tmp_path / "log", traces[:20])
        first = watch(tmp_path, models)
        Shadow(first).cycle()
        newer = {**first.drafts(), "sql": DraftSpec("sql", "sql@v2", models[0])}
        write_log(tmp_path / "log", traces[20:])
        second = Shadow(replace(first, drafts=lambda: newer))
        second.cycle()
        table = CostTable.load(tmp_path / "labels")
        assert (len(table), table.versions) == (30, ("sql@v2", "math@v1"))
        assert table.scored.all()
        np.testing.assert_array_equal(table.runs[:, 0], table.runs[:, 1])
        assert second.regret.topics["sql"].answers == 30

    def test_a_share_of_the_traces_is_sampled_by_their_text(self, tmp_path, models, traces):
        """The same ones every time; another share contains a smaller one."""
        chosen = [trace for trace in traces if is_sampled(trace, 0.4)]
        assert 4 < len(chosen) < 20
        assert all(is_sampled(trace, 0.6) for trace in chosen)
        write_log(tmp_path / "log", traces)
        shadow = Shadow(watch(tmp_path, models, share=0.4))
        shadow.cycle()
        assert shadow.regret.topics["sql"].answers == len(chosen) == len(CostTable.load(tmp_path / "labels"))

    def test_none_are_scored_where_none_are_wanted_or_nothing_is_new(self, tmp_path, models, traces):
        """Nobody even asks which drafts there are."""

        def refuse():
            raise AssertionError

        Shadow(watch(tmp_path, models, drafts=refuse)).cycle()
        write_log(tmp_path / "log", traces)
        Shadow(watch(tmp_path, models, share=0.0, drafts=refuse)).cycle()
        Shadow(watch(tmp_path, models)).cycle()
        Shadow(watch(tmp_path, models, drafts=refuse)).cycle()

    def test_the_oldest_prompts_leave(self, tmp_path, models, traces):
        """Beyond the table's size."""
        write_log(tmp_path / "log", traces)
        Shadow(watch(tmp_path, models, most=10)).cycle()
        assert CostTable.load(tmp_path / "labels").texts == tuple(
            repr(trace.token_ids[: trace.prompt_length]) for trace in traces[-10:]
        )

    def test_it_ends_where_it_is_told_to_and_goes_on(self, tmp_path, models, traces):
        """Nothing half counted."""

        def stop():
            raise Stopped

        write_log(tmp_path / "log", traces)
        with pytest.raises(Stopped):
            Shadow(watch(tmp_path, models, between=stop)).cycle()
        assert not (tmp_path / "labels" / STATE).exists()
        again = Shadow(watch(tmp_path, models))
        again.cycle()
        assert again.regret.topics["sql"].answers == 30

    def test_a_log_that_lost_its_oldest_files_is_followed_on(self, tmp_path, models, traces):
        """Retention removes what may not be read yet."""
        write_log(tmp_path / "log", traces[:10])
        write_log(tmp_path / "log", traces[10:])
        list_segments(tmp_path / "log")[0][1].unlink()
        shadow = Shadow(watch(tmp_path, models))
        shadow.cycle()
        assert shadow.regret.topics["sql"].answers == 20


class TestFiles:
    def test_damage_is_refused_with_what_to_do(self, tmp_path, models):
        """Counts that are wrong are worse than none."""
        (tmp_path / "labels").mkdir()
        for text in ("{", "{}", '{"seen": "x", "counted": "0:0", "topics": {}, "others": 0}'):
            (tmp_path / "labels" / STATE).write_text(text)
            with pytest.raises(ConfigError, match="damaged"):
                Shadow(watch(tmp_path, models))


class TestRegret:
    def test_answers_without_a_draft_of_the_deployment_are_counted_apart(self):
        """Prompt lookup and nobody have no replayed runs; a version is not the router's choice."""
        regret = Regret()
        for draft in (None, "lookup", "sql@v1+general@v2"):
            regret.add("sql", draft, 10, {"sql": 5.0, "general": 4.0})
        assert regret.runs_per_1000_tokens is None
        regret.add(None, "sql@v7", 10, {"sql": 5.0, "general": 4.0})
        assert (regret.others, regret.topics.keys()) == (3, {"none"})
        assert regret.runs_per_1000_tokens == pytest.approx(100)
        assert Regret.parse(regret.document()).document() == regret.document()
