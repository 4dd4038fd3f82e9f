"""The registry's side of a retraining."""

import dataclasses
import json
from pathlib import Path

import mlflow
import pytest

from registry.aliases import AliasMoved
from registry.names import CHALLENGER, CHAMPION
from registry.store import Registry
from registry.verdicts import promote
from registry.version import Version
from router.held_out import read_held_out
from router.topic_router import TopicRouter
from tests.router.stub_encoder import StubEncoder
from tests.training.routing.toys import poisoned, records
from training.routing.gate import Outcome
from training.routing.prompts import Labelled, split_prompts
from training.routing.publish import Book, Wish, publish
from training.routing.retrain import Serving, Trained, retrain

ENCODER = StubEncoder(dim=96)
KEEP = Wish(False, False, "polydraft router retrain --data prompts", {"seed": 0}, {"name": "toy"})
IF_BETTER = dataclasses.replace(KEEP, serve_if_better=True)
SERVE = dataclasses.replace(KEEP, serve=True)


@pytest.fixture
def book(registry: Registry) -> Book:
    return Book(registry, "toy")


def trained(book: Book, given: list[Labelled]) -> Trained:
    champion = book.champion()
    serving = None
    if champion is not None:
        router = TopicRouter.load(champion.folder, ENCODER)
        serving = Serving.of(champion.label, router, read_held_out(champion.folder))
    return retrain(split_prompts(given), ENCODER, serving)


def published(book: Book, folder: Path, found: Trained, wish: Wish) -> Version:
    found.save(folder)
    return publish(book, found, folder, book.champion(), wish)


def test_a_better_router_waits_unless_it_is_asked_for(book: Book, tmp_path: Path) -> None:
    """Then it serves, remembers which one it replaced, and can be read back as it was."""
    found = trained(book, records(300, seed=1))
    waiting = published(book, tmp_path / "a", found, KEEP)
    assert (waiting.label, waiting.aliases, book.champion()) == ("router@v1", (CHALLENGER,), None)
    assert "polydraft registry promote router@v1" in waiting.tags["verdict_reason"]
    serving = published(book, tmp_path / "b", found, IF_BETTER)
    assert (serving.label, serving.tags["verdict"]) == ("router@v2", "promoted")
    assert CHAMPION in serving.aliases
    texts = [each.text for each in records(20, seed=9)]
    assert TopicRouter.load(serving.folder, ENCODER).decide_many(texts) == found.router.decide_many(texts)


def test_no_wish_makes_a_worse_router_serve(book: Book, tmp_path: Path) -> None:
    """Poisoned labels: the champion stays for all options, and the version says why."""
    first = published(book, tmp_path / "first", trained(book, records(300, seed=1)), SERVE)
    worse = trained(book, poisoned(records(300, seed=1), 0.4))
    assert worse.verdict.outcome is Outcome.DOUBTFUL
    refused = published(book, tmp_path / "worse", worse, IF_BETTER)
    assert (refused.tags["verdict"], refused.aliases) == ("refused", (CHALLENGER,))
    assert "labels are wrong" in refused.tags["verdict_reason"]
    verdict = dataclasses.replace(worse.verdict, outcome=Outcome.WORSE)
    published(book, tmp_path / "worse", dataclasses.replace(worse, verdict=verdict), SERVE)
    champion = book.champion()
    assert champion is not None
    assert champion.version == first.version


def test_the_run_keeps_what_it_was_made_from_and_what_came_of_it(book: Book, tmp_path: Path) -> None:
    """Figures under the registry's names, digests of the data, pictures, and a page of mistakes."""
    found = trained(book, records(200, seed=1, noise=2))
    version = published(book, tmp_path / "a", found, IF_BETTER)
    run = book.registry.run_of(version)
    assert run is not None
    assert run.name == "router v1 retrained"
    assert {"topic/accuracy", "calibration/ece", "calibration/brier", "scope/auroc", "gate/lower"} <= run.figures.keys()
    assert run.data["prompts-router (gate)"] == found.prompts.digest("held_out")
    assert run.params["seed"] == "0"
    client = mlflow.MlflowClient(book.registry.client.tracking_uri)
    pictures = {Path(file.path).name for file in client.list_artifacts(version.run_id, "pictures")}
    assert pictures == {"confusion.png", "reliability.png", "wrong_examples.html"}
    config = Path(client.download_artifacts(version.run_id, "config.json"))
    assert json.loads(config.read_text()) == {"name": "toy"}


def test_who_was_faster_keeps_the_alias(book: Book, tmp_path: Path) -> None:
    """A champion that is another one by now was not compared with; the new version is kept all the same."""
    found = trained(book, records(200, seed=1))
    found.save(tmp_path / "a")
    publish(book, found, tmp_path / "a", None, SERVE)
    with pytest.raises(AliasMoved):
        publish(book, found, tmp_path / "a", None, SERVE)
    champion = book.champion()
    assert champion is not None
    assert champion.label == "router@v1"
    assert promote(book.registry, book.registry.resolve("registry://toy-router@v2"), 1).label == "router@v2"
