"""What became of the versions in the registry is told when it changes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RegistryError
from registry.version import ModelSummary, Version
from serving import following_verdicts
from serving.config import Deployment
from serving.following_verdicts import VerdictFollower


class Shelf:
    """A registry of versions without files, or one that is gone."""

    def __init__(self) -> None:
        self.verdicts: dict[str, list[str | None]] = {}
        self.is_gone = False

    def list_models(self, prefix: str) -> list[ModelSummary]:
        return [
            ModelSummary(f"{prefix}{topic}", {}, tuple(map(_version, verdicts)), {})
            for topic, verdicts in self.verdicts.items()
        ]


def _version(verdict: str | None) -> Version:
    tags = {} if verdict is None else {"verdict": verdict}
    return Version("toy-draft-sql", 1, (), Path(), tags, None, datetime.now(UTC))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()

    def opened(_: Deployment) -> Shelf:
        if shelf.is_gone:
            raise RegistryError("no registry answers")
        return shelf

    monkeypatch.setattr(following_verdicts, "open_registry", opened)
    return shelf


def following(tell: Any, **fields: Any) -> VerdictFollower:
    source = {"model": "registry://toy-draft-sql@champion"}
    sections = {"drafts": {"general": None, "topics": {"sql": source}}, **fields}
    return VerdictFollower(Deployment.model_validate({"name": "toy", **sections}), tell)


def test_versions_are_counted_by_topic_and_verdict_and_told_once(shelf: Shelf) -> None:
    """Those that nobody has judged are left out; a registry that is gone leaves what was told."""
    told: list[Any] = []
    follower = following(told.append)
    shelf.verdicts = {"sql": ["promoted", "refused", "promoted", None], "math": [None]}
    follower.look()
    follower.look()
    assert told == [{"sql": {"promoted": 2, "refused": 1}, "math": {}}]
    shelf.is_gone = True
    follower.look()
    shelf.is_gone, shelf.verdicts["sql"] = False, ["promoted", "refused", "rolled back", None]
    follower.look()
    assert told[1:] == [{"sql": {"promoted": 1, "refused": 1, "rolled back": 1}, "math": {}}]


@pytest.mark.parametrize(
    "fields", [{"registry": {"poll_seconds": 0}}, {"drafts": {"general": None, "topics": {"sql": {"model": "/here"}}}}]
)
def test_who_follows_nothing_does_not_look(fields: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is started."""
    monkeypatch.setattr(following_verdicts, "Thread", None)
    following(lambda _: None, **fields).start()


def test_who_follows_a_topic_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_verdicts, "Thread", None)
    with pytest.raises(TypeError):
        following(lambda _: None).start()
