"""Topics come and go: drafts and router are made, registered and promoted together, and the way back is there."""

import json
from dataclasses import replace

import numpy as np
import pytest

from configs.errors import ConfigError, CorpusError
from decoding.checkpoint import fingerprint
from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from registry.names import CHALLENGER, CHAMPION, Reference
from router.proposal import Proposals, proposal_file
from router.topic_router import TopicRouter
from tests.router.stub_encoder import StubEncoder
from tests.router.test_proposal import proposal
from tests.training.online.streams import stream
from training.distillation.material import part_of
from training.distillation.parent import Parent
from training.topics.accepting import Known, accept, check_name, known_from_data, known_from_traces, merge, split
from training.topics.changing import Changed, Workshop
from training.topics.lesson import Author, Teaching
from training.topics.proposals import Scout
from training.topics.traffic import Traffic, traffic_of, write_traces

ROUTER = "starter-router"
NEW = "fever cough pain tablet doctor"
TOPICS = {
    "sql": [f"select table rows count {n} join" for n in range(40)],
    "math": [f"apples how many left {n} total" for n in range(40)],
}
FOREIGN = [f"weather song alarm {n} flight" for n in range(80)]


@pytest.fixture
def encoder(tmp_path):
    from router.embedding_cache import CachedEncoder

    return CachedEncoder(StubEncoder(), tmp_path / "embeddings")


@pytest.fixture
def workshop(registry, models, encoder, tmp_path) -> Workshop:
    """A registry with a general draft and a router of sql and math."""
    registry.register("starter-draft-general", models[1], {"topic": "general"}, alias=CHAMPION)
    (tmp_path / "first").mkdir()
    found = Workshop(
        "starter",
        registry,
        models[0],
        64,
        encoder,
        tmp_path / "work",
        "polydraft topics",
        Teaching(8, 1e-2, 4, texts=0),
    )
    found.promote(found.router(TOPICS, FOREIGN, "the first one")[0], "first")
    return found


@pytest.fixture
def answers(models):
    """140 answers without a topic, of a target that is the workshop's."""
    return stream(*models, 140, topic=None, fingerprint=fingerprint(models[0]))


class Alike(StubEncoder):
    """All texts are about the same."""

    def encode(self, texts):
        return np.eye(1, self.dim, dtype=np.float32).repeat(len(texts), axis=0)


def in_template(trace: SpeculationTrace) -> SpeculationTrace:
    """Its prompt between tokens that all share; what the target answers does not matter."""
    ids, length = trace.token_ids, trace.prompt_length
    return replace(trace, token_ids=[1, *ids[:length], 2, *ids[length:]], prompt_length=length + 2)


def parent(workshop: Workshop, topic: str = "general") -> Parent:
    return workshop.parent(f"registry://starter-draft-{topic}@champion")


def scout(workshop, answers, tmp_path) -> tuple[Scout, Traffic]:
    """The answers are to prompts about the new topic, all of them rejected."""
    queries = {tuple(trace.token_ids): f"{NEW} {n}" for n, trace in enumerate(answers)}
    write_traces(tmp_path / "log", answers)
    router = workshop.serving_router()
    assert router is not None
    router = replace(router, gate=replace(router.gate, threshold=1.1))  # rejects everything
    text_of = lambda trace: queries[tuple(trace.token_ids)]  # noqa: E731
    file = proposal_file(tmp_path / "state", "starter")
    made = Scout(tmp_path / "log", fingerprint(workshop.target), text_of, router, workshop.encoder, file)
    return made, traffic_of(answers, text_of)


def around(encoder) -> tuple[float, ...]:
    rows = encoder.encode([f"{NEW} {n}" for n in range(140)])
    return tuple(float(value) for value in rows.mean(axis=0))


@pytest.mark.slow
class TestAccept:
    def accepted(self, workshop, answers, tmp_path, name="medical") -> tuple[Changed, Scout]:
        looking, log = scout(workshop, answers, tmp_path)
        raised = proposal(centre=around(workshop.encoder), embedding="stub-1")
        looking.file.write(Proposals((raised,)))
        known = Known(TOPICS, FOREIGN)
        return accept(workshop, looking, raised, name, parent(workshop), known, log), looking

    def test_draft_and_router_serve_and_the_proposal_is_settled(self, workshop, answers, tmp_path):
        changed, looking = self.accepted(workshop, answers, tmp_path)
        registry = workshop.registry
        assert changed.promoted
        assert changed.drafts["medical"].label == "medical@v1"
        assert registry.get(Reference("starter-draft-medical", CHAMPION, None)).tags["parent"] == "general@v1"
        router = workshop.serving_router()
        assert set(router.topics) == {"sql", "math", "medical"}
        assert router.decide(f"{NEW} 7").topic == "medical"
        assert looking.file.read().open == ()
        assert json.loads(json.dumps(changed.document()))["router"] == "router@v2"

    def test_the_way_back_leads_to_the_router_before(self, workshop, answers, tmp_path):
        self.accepted(workshop, answers, tmp_path)
        workshop.registry.rollback(ROUTER)
        assert workshop.serving_router().topics == ("sql", "math")

    def test_a_change_that_is_repeated_makes_no_second_draft(self, workshop, answers, tmp_path):
        """As after a kill between draft and router."""
        self.accepted(workshop, answers, tmp_path)
        workshop.registry.rollback(ROUTER)
        changed, _ = self.accepted(workshop, answers, tmp_path)
        assert changed.drafts["medical"].version == 1

    def test_the_target_writes_more_where_little_was_recorded(self, workshop, answers, tmp_path):
        """Drawn answers to the same prompts; written once, and none where there are enough."""
        changed, _ = self.accepted(workshop, answers, tmp_path)
        run = workshop.registry.get(Reference.parse(changed.drafts["medical"].label, "starter"))
        (lesson,) = (tmp_path / "work" / "lessons").iterdir()
        learned = list(TraceReader(lesson))
        recorded, further = learned[:140], learned[140:]
        assert run.tags["data_window"] == "560 traces"
        prompts = [trace.token_ids[: trace.prompt_length] for trace in recorded]
        assert [trace.token_ids[: trace.prompt_length] for trace in further] == prompts * 3
        assert {trace.topic for trace in learned} == {"medical"}
        assert {trace.sampling.temperature for trace in further} == {0.7}
        assert len({tuple(trace.token_ids) for trace in further}) > 300
        author = Author(workshop.target, workshop.encoder, tmp_path / "author", replace(workshop.teaching, answers=140))
        assert author.further("medical", traffic_of(answers, lambda _: "")) == []

    def test_the_target_writes_prompts_where_it_has_written_all_answers(self, workshop, answers, tmp_path):
        """What they are answered is learned from and no more: none of them is among what the draft is judged by."""
        author = Author(workshop.target, Alike(), tmp_path / "author", workshop.teaching)
        recorded = traffic_of([in_template(trace) for trace in answers], lambda _: "fever cough")
        written = author.synthetic("medical", recorded, 800)
        prompts = [tuple(trace.token_ids[: trace.prompt_length]) for trace in written]
        assert 5 < len(set(prompts)) == len(prompts)
        assert {part_of(trace) for trace in written} == {"train"}
        assert {trace.topic for trace in written} == {"medical"}
        again = author.synthetic("medical", recorded, 800)
        assert [trace.token_ids for trace in again] == [trace.token_ids for trace in written]
        assert author.synthetic("medical", recorded, 0) == []

    def test_nothing_is_promoted_if_other_topics_would_lose(self, workshop, answers, tmp_path, monkeypatch):
        monkeypatch.setattr(Workshop, "lost", lambda *_: 0.1)
        changed, looking = self.accepted(workshop, answers, tmp_path)
        assert not changed.promoted
        assert changed.router.aliases == (CHALLENGER,)
        assert workshop.serving_router().topics == ("sql", "math")
        assert workshop.registry.list_models("starter-draft-medical")[0].champion is None
        assert [each.name for each in looking.file.read().open] == ["symptoms"]


@pytest.mark.slow
class TestSplitAndMerge:
    def test_a_topic_is_split_along_its_clusters(self, workshop, answers):
        half = len(answers) // 2
        words = ["select table rows"] * half + ["grep files pipe"] * (len(answers) - half)
        queries = tuple(f"{text} {n}" for n, text in enumerate(words))
        known = Known({**TOPICS, "sql": list(queries)}, FOREIGN)
        traffic = Traffic(tuple(answers), queries)
        changed = split(workshop, "sql", ("tables", "files"), traffic, parent(workshop, "sql"), known)
        assert set(workshop.serving_router().topics) == {"math", "tables", "files"}
        assert {draft.tags["parent"] for draft in changed.drafts.values()} == {"sql@v1"}
        sides = {workshop.serving_router().decide(text).topic for text in queries[:half]}
        assert len(sides) == 1
        assert workshop.registry.get(Reference("starter-draft-sql", CHAMPION, None)).version == 1

    def test_merged_topics_go_on_from_the_larger_one_s_draft(self, workshop, answers, models):
        workshop.registry.register("starter-draft-math", models[1], {"topic": "math"}, alias=CHAMPION)
        queries = ("",) * len(answers)
        log = {"sql": Traffic(tuple(answers[:30]), queries[:30]), "math": Traffic(tuple(answers[30:]), queries[30:])}
        parents = {topic: parent(workshop, topic) for topic in log}
        known = Known({**TOPICS, "shell": [f"{NEW} {n}" for n in range(40)]}, FOREIGN)
        changed = merge(workshop, ("sql", "math"), "both", log, parents, known)
        assert changed.drafts["both"].tags["parent"] == "math@v1"
        assert set(workshop.serving_router().topics) == {"shell", "both"}


class TestLost:
    def test_prompts_that_go_elsewhere_count_and_new_ones_do_not(self, workshop):
        """A router that sends all of math astray loses the half of both topics' prompts."""
        before = workshop.serving_router()
        assert workshop.lost(TOPICS, FOREIGN, before, {"sql": "sql", "math": "math"}) == 0
        weights = np.where(np.arange(2)[:, None] == 0, before.classifier.weights, 0).astype(np.float32)
        bias = np.array([50, 0], dtype=np.float32)
        astray = TopicRouter(
            before.encoder, replace(before.classifier, weights=weights, bias=bias), before.gate, before.min_confidence
        )
        assert workshop.lost(TOPICS, FOREIGN, astray, {"sql": "sql", "math": "math"}) == pytest.approx(0.5, abs=0.1)

    def test_too_few_prompts_are_refused_with_what_to_do(self, workshop):
        with pytest.raises(CorpusError, match="2 different prompts of math") as told:
            workshop.router({**TOPICS, "math": ["a", "b"] * 9}, FOREIGN, "why")
        assert "--data" in told.value.do


class TestKnown:
    def test_prompts_come_from_the_training_part_of_a_folder(self, tmp_path):
        for name in ("sql", "out_of_scope"):
            records = [{"prompt": f"{name} {part}", "split": part} for part in ("train", "validation")]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
        assert known_from_data(tmp_path, ["sql"]) == Known({"sql": ["sql train"]}, ["out_of_scope train"])
        with pytest.raises(ConfigError, match=r"math\.jsonl"):
            known_from_data(tmp_path, ["sql", "math"])

    def test_prompts_come_from_recorded_requests_as_they_were_routed(self, answers):
        named = [replace(trace, topic="sql" if n % 2 else "other") for n, trace in enumerate(answers[:4])]
        log = Traffic(tuple(named), ("a", "b", "c", "d"))
        assert known_from_traces(log, ["sql"], ["x"]).topics == {"sql": ["b", "d"]}


@pytest.mark.parametrize("name", ["general", "lookup", "none", "auto", "router", "a+b", "", "a b", "sql"])
def test_names_that_mean_something_else_are_refused(name):
    with pytest.raises(ConfigError):
        check_name(name, ["sql"])


def test_ordinary_names_are_not_refused():
    check_name("medical-2", ["sql"])
