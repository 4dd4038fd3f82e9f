"""A new router against the one that serves: better ones pass, no worse one does, whatever the data claim."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from configs.errors import CorpusError
from router.costs import CostTable, Prices
from router.embedding_cache import CachedEncoder
from router.held_out import read_held_out
from router.kinds import KINDS
from router.prompts import FOREIGN
from router.topic_router import TopicRouter
from tests.router.stub_encoder import StubEncoder
from tests.training.routing.toys import poisoned, records, swapped
from training.routing.gate import Outcome
from training.routing.prompts import Labelled, split_prompts
from training.routing.retrain import Labels, Serving, Trained, retrain

ROOT = Path(__file__).parents[3]
ENCODER = StubEncoder(dim=96)


def trained(given: list[Labelled], serving: Serving | None = None, labels: Labels | None = None) -> Trained:
    return retrain(split_prompts(given), ENCODER, serving, labels=labels)


def serving_of(found: Trained, folder: Path) -> Serving:
    """What the registry would hand back of it."""
    found.save(folder)
    return Serving.of("router@v1", TopicRouter.load(folder, ENCODER), read_held_out(folder))


@pytest.fixture(scope="module")
def clean() -> Trained:
    return trained(records(300, seed=1))


@pytest.fixture(scope="module")
def serving(clean: Trained, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    return serving_of(clean, tmp_path_factory.mktemp("serving"))


def test_a_first_router_is_better_than_none(clean: Trained) -> None:
    assert clean.verdict.outcome is Outcome.BETTER
    assert clean.serving_label == "no router"
    assert clean.candidate.right > 0.9
    assert clean.router.figures["topic/right"] == clean.candidate.right


def test_nothing_can_be_learned_from_labels_without_meaning() -> None:
    """The negative control of the test above: with names drawn at random a first router is not better than none."""
    given = records(150, seed=2)
    names = [each.group for each in given]
    draw = np.random.default_rng(0).permutation(len(names))
    assert (
        trained(
            [dataclasses.replace(each, group=names[place]) for each, place in zip(given, draw, strict=True)]
        ).verdict.outcome
        is not Outcome.BETTER
    )


def test_a_router_is_not_better_than_itself(serving: Serving) -> None:
    found = trained(records(300, seed=1), serving)
    assert found.verdict.outcome is Outcome.NOT_BETTER
    assert found.verdict.difference.mean == 0.0


def test_a_router_that_learned_from_more_is_better(tmp_path: Path) -> None:
    """Seventy prompts of a topic against three hundred and fifty, where two words of five are of another."""
    few = serving_of(trained(records(100, seed=1, noise=2)), tmp_path)
    found = trained(records(500, seed=1, noise=2), dataclasses.replace(few, accuracy=None))
    assert found.verdict.outcome is Outcome.BETTER
    assert found.candidate.right > found.serving.right


@pytest.mark.parametrize("share", [0.15, 0.4, 0.9])
def test_a_router_of_poisoned_labels_is_never_better(serving: Serving, share: float) -> None:
    """The serving router was right until now: the labels, or the traffic, must be looked at first."""
    found = trained(poisoned(records(300, seed=1), share), serving)
    assert found.verdict.outcome is Outcome.DOUBTFUL
    assert "labels are wrong, or traffic is another" in found.verdict.reason


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_the_prompts_of_the_serving_version_tell_without_its_figures(serving: Serving, share: float) -> None:
    """Wrong labels make a router unsure, and it loses on prompts whose labels were right."""
    found = trained(poisoned(records(300, seed=1), share), dataclasses.replace(serving, accuracy=None))
    assert found.verdict.outcome is Outcome.WORSE


def test_topics_under_each_others_names_are_noticed(serving: Serving) -> None:
    """Consistently wrong: the new router agrees with all of its own labels."""
    given = swapped(records(300, seed=1), "sql", "math")
    found = trained(given, serving)
    assert found.verdict.outcome is Outcome.DOUBTFUL
    assert found.candidate.right > 0.9 > found.serving.right
    without_figures = dataclasses.replace(serving, accuracy=None)
    assert trained(given, without_figures).verdict.outcome is Outcome.WORSE
    # The negative control: by the new prompts alone, which are as wrong as those it learned from, it would have won.
    assert trained(given, dataclasses.replace(without_figures, held_out=None)).verdict.outcome is Outcome.BETTER


def labels_of(given: list[Labelled], best: dict[str, str]) -> Labels:
    """Twenty tokens each, eight runs with the draft that is best for the prompt's group, twenty with any other."""
    drafts = ("general", "sql", "math", "shell")
    runs = np.full((len(given), len(drafts), 2), 20.0)
    for row, each in enumerate(given):
        runs[row, drafts.index(best[each.group]), 1] = 8.0
    texts, groups = tuple(each.text for each in given), tuple(each.group for each in given)
    table = CostTable(texts, groups, drafts, drafts, np.full(len(given), 20, dtype=np.int64), runs)
    return Labels(table, Prices((0.0,) * len(drafts), (1.0, 1.0)))


OWN = {"sql": "sql", "math": "math", "shell": "shell", FOREIGN: "general"}


def test_measured_costs_decide_where_there_are_any(serving: Serving) -> None:
    """By name the swapped router is the better one; on the target's answers the drafts of the names cost more."""
    given = swapped(records(300, seed=1), "sql", "math")
    labels = labels_of(records(300, seed=1), OWN)
    found = trained(given, dataclasses.replace(serving, accuracy=None, held_out=None), labels)
    assert (found.verdict.measure, found.verdict.outcome) == ("runs", Outcome.WORSE)
    assert found.verdict.serving < found.verdict.candidate
    cured = retrain(
        split_prompts(records(300, seed=1)), ENCODER, Serving.of("router@v2", found.router, None), labels=labels
    )
    assert cured.verdict.outcome is Outcome.BETTER


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_kind_that_learned_costs_beats_names_that_mislead(serving: Serving, kind: str, tmp_path: Path) -> None:
    """Prompts of math are cheapest with the draft of shell: whoever goes by the topic's name pays."""
    given = records(300, seed=1)
    labels = labels_of(given, {**OWN, "math": "shell"})
    before = dataclasses.replace(serving, accuracy=None)
    found = retrain(split_prompts(given), ENCODER, before, labels=labels, kind=kind)
    drafts = {"sql": Counter[str](), "math": Counter[str]()}
    for decision, group in zip(found.candidate.decisions, found.sample.groups, strict=True):
        if group in drafts and decision.reason == "cost":
            drafts[group][decision.draft] += 1
    by_name = kind == "logistic"
    assert drafts["sql"].most_common(1)[0][0] == "sql"
    assert drafts["math"].most_common(1)[0][0] == ("math" if by_name else "shell")
    assert found.verdict.outcome is (Outcome.NOT_BETTER if by_name else Outcome.BETTER)
    found.save(tmp_path)
    loaded = TopicRouter.load(tmp_path, ENCODER)
    assert loaded.decide_embedded(found.sample.embeddings) == list(found.candidate.decisions)


def test_a_kind_never_learns_from_held_out_prompts() -> None:
    """Costs are known of all prompts; those that are held out stay out, wherever they are named."""
    given = [dataclasses.replace(each, is_held_out=number % 5 == 0) for number, each in enumerate(records(300, seed=1))]
    prompts = split_prompts(given)
    assert [each.text for each in given if not prompts.may_learn(each.text)] == [
        each.text for each in given if each.is_held_out
    ]
    held_out = [each for each in given if each.is_held_out]
    with pytest.raises(CorpusError, match="0 prompts to learn from have measured costs"):
        retrain(prompts, ENCODER, None, labels=labels_of(held_out, OWN), kind="regression")


def test_the_same_prompts_give_the_same_bytes(clean: Trained, tmp_path: Path) -> None:
    """Whatever the order of the records; another seed draws other prompts and gives another router."""
    clean.save(tmp_path / "one")
    retrain(split_prompts(list(records(300, seed=1))), StubEncoder(dim=96), None).save(tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["held_out.safetensors", "router.json", "router.safetensors"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    other = retrain(split_prompts(records(300, seed=1), seed=1, per_topic=100), ENCODER, None).router
    assert other.classifier.weights.tobytes() != clean.router.classifier.weights.tobytes()


SCRIPT = """
import os, sys, time
from pathlib import Path
from router import embedding_cache
from router.embedding_cache import CachedEncoder
from tests.router.stub_encoder import StubEncoder
from tests.training.routing.toys import records
from training.routing.prompts import split_prompts
from training.routing.retrain import retrain

class Slow(StubEncoder):
    def encode(self, texts):
        print(len(texts), flush=True)
        time.sleep(0.3)
        return super().encode(texts)

embedding_cache.SHARD_SIZE = 100
cached = CachedEncoder(Slow(dim=96), Path(sys.argv[1]))
retrain(split_prompts(records(300, seed=1)), cached, None).save(Path(sys.argv[2]))
"""


def test_a_killed_training_embeds_only_what_is_missing_and_ends_with_the_same_bytes(
    clean: Trained, tmp_path: Path
) -> None:
    """SIGKILL in the midst of embedding; the next one asks the encoder for the rest alone."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cache"), str(tmp_path / "router")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(CachedEncoder(StubEncoder(dim=96), tmp_path / "cache"))
    assert kept >= 100
    counting = StubEncoder(dim=96)
    found = retrain(split_prompts(records(300, seed=1)), CachedEncoder(counting, tmp_path / "cache"), None)
    assert len(counting.encoded) == len(set(counting.encoded)) > 100
    assert len(CachedEncoder(StubEncoder(dim=96), tmp_path / "cache")) == kept + len(counting.encoded)
    found.save(tmp_path / "again")
    clean.save(tmp_path / "clean")
    for path in (tmp_path / "clean").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
