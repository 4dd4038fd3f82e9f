"""The search for a number of drafts, on a toy target and drafts that do not know it."""

import json
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from benchmarks.discovery import discovery_report
from configs.errors import ConfigError, CorpusError
from decoding.lossy import Typical
from tests.router.stub_encoder import StubEncoder
from tests.training.online.streams import stream
from training.labels.questions import PromptText
from training.topics import partitions
from training.topics.discovery import Discovery
from training.topics.partitions import Nursery, Spending, shares
from training.topics.sources import Source
from training.topics.traffic import Asking, Traffic, read_log, split, traffic_of, write_traces

WORDS = ("select table rows", "apples left total")


@pytest.fixture(scope="module")
def traces(models):
    """150 greedy answers under two names."""
    return [
        answer
        for number, topic in enumerate(("sql", "math"))
        for answer in stream(*models, 75, topic=topic, seed=number, temperature=0.0)
    ]


@pytest.fixture(scope="module")
def traffic(traces) -> Traffic:
    """Queries that tell the names apart."""
    counted = enumerate(traces)
    return Traffic(tuple(traces), tuple(f"{WORDS[trace.topic == 'math']} {number}" for number, trace in counted))


def search(models, traffic, work, numbers=(1, 2), steps=6, seeds=(1,)) -> Discovery:
    target, draft = models
    train, held_out = split(traffic)
    nursery = Nursery(draft, target, held_out.traces, work, Spending(steps, 1e-2))
    return Discovery(train, held_out, StubEncoder(), nursery, 1 << 20, numbers, seeds)


class TestDiscovery:
    def test_every_number_has_a_row_and_clusters_are_compared_with_names(self, models, traffic, tmp_path):
        report = discovery_report(search(models, traffic, tmp_path), "polydraft topics discover")
        one, two = report.rows
        assert (one["k"], one["gain"], one["routing_error"], one["agreement"]) == (1, 0, 0, 0)
        assert two["agreement"] == two["purity"] == two["stability"] == 1
        assert two["drafts_mb"] == 2
        assert two["gain_low"] <= two["gain"] <= two["gain_high"]
        assert report.facts["recommended"] in (1, 2)
        assert json.loads(json.dumps(report.rows)) == report.rows
        assert {path.suffix for path in report.save(tmp_path / "report")} == {".json", ".md", ".png"}

    def test_names_change_nothing_but_the_comparison(self, models, traffic, tmp_path):
        """They are hidden from clustering and training."""
        nameless = Traffic(tuple(replace(trace, topic=None) for trace in traffic.traces), traffic.queries)
        named, hidden = (search(models, each, tmp_path).rows()[0] for each in (traffic, nameless))
        assert [row["tokens_per_target_run"] for row in named] == [row["tokens_per_target_run"] for row in hidden]
        assert hidden[1]["agreement"] is None

    def test_a_second_search_trains_nothing(self, models, traffic, tmp_path, monkeypatch):
        first = search(models, traffic, tmp_path).rows()
        monkeypatch.setattr(partitions, "train", None)
        assert search(models, traffic, tmp_path).rows() == first

    def test_training_makes_one_draft_better_than_its_parent(self, models, traffic, tmp_path):
        discovery = search(models, traffic, tmp_path, (1,), steps=40)
        rows, _ = discovery.rows()
        parent = discovery.nursery._score(discovery.nursery.parent)
        assert rows[0]["alpha"] > float(parent.accepted.sum() / parent.reachable.sum()) + 0.02

    def test_too_little_traffic_and_no_single_draft_are_refused(self, models, traffic, tmp_path):
        with pytest.raises(CorpusError, match="too few for 60 drafts"):
            search(models, traffic, tmp_path, (1, 60)).rows()
        with pytest.raises(ConfigError, match="one draft for everything"):
            search(models, traffic, tmp_path, (2,)).rows()


class TestShares:
    def test_steps_are_shared_out_in_proportion_and_none_is_lost(self):
        assert shares([100, 200, 300], 60) == [10, 20, 30]
        for sizes in ([1, 1, 1000], [7, 5, 3, 2], [1]):
            found = shares(sizes, 41)
            assert sum(found) == 41
            assert min(found) >= 1

    def test_fewer_steps_than_drafts_are_refused(self):
        with pytest.raises(ValueError, match="2 steps cannot be shared among 3"):
            shares([1, 1, 1], 2)


class TestTraffic:
    def test_no_prompt_is_in_both_parts(self, traffic):
        train, held_out = split(traffic)
        prompts = [{tuple(t.token_ids[: t.prompt_length]) for t in part.traces} for part in (train, held_out)]
        assert not prompts[0] & prompts[1]
        assert len(train) + len(held_out) == len(traffic)

    def test_the_newest_traces_of_a_log_are_read(self, traces, models, tmp_path):
        write_traces(tmp_path, traces)
        text_of = PromptText(AutoTokenizer.from_pretrained(models[0]))
        found = read_log(tmp_path, text_of, traces[0].target, 10)
        assert [trace.token_ids for trace in found.traces] == [trace.token_ids for trace in traces[-10:]]
        with pytest.raises(ConfigError, match="no traces of this deployment"):
            read_log(tmp_path, text_of, "another")

    def test_answers_that_are_there_are_not_asked_for_again(self, models, tmp_path, monkeypatch):
        asking = Asking(models[0], "f", 0, tmp_path, 8)
        prompts = [("sql", [5, 6, 7]), ("math", [8, 9])]
        first = asking.answers(prompts)
        monkeypatch.setattr("training.topics.traffic.load_model", None)
        again = asking.answers(prompts)
        assert [each.token_ids for each in again] == [each.token_ids for each in first]
        assert [each.topic for each in again] == ["sql", "math"]
        assert all(each.sampling.is_greedy for each in again)

    def test_prompts_of_a_folder_are_answered_and_foreign_ones_left_out(self, models, tmp_path):
        """A file a topic; its split is kept."""
        for topic in ("sql", "math", "out_of_scope"):
            lines = [
                json.dumps({"prompt": f"{topic} {n}", "split": part})
                for part in ("train", "validation")
                for n in range(4)
            ]
            (tmp_path / f"{topic}.jsonl").write_text("\n".join(lines))
        source = Source(models[0], "f", AutoTokenizer.from_pretrained(models[0]))
        train, held_out = source.data(tmp_path, 8, 4, tmp_path / "work", lambda _: None)
        assert train.topics == ("math",) * 4 + ("sql",) * 4
        assert train.queries[0] == "math 0"
        assert held_out.topics == ("math", "sql")

    def test_lossy_answers_are_left_out(self, traces):
        lossy = [
            replace(each, sampling=replace(each.sampling, temperature=1.0, lossy=Typical())) for each in traces[:3]
        ]
        assert len(traffic_of([*lossy, *traces[:2]], lambda _: "")) == 2
