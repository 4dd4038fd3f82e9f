"""What the follower of the registry hands on, and what it keeps to itself."""

from pathlib import Path

import pytest

from configs.errors import IncompatibleDraft, RegistryError
from decoding.acceptance import Prior
from drafts.pool import DraftSpec
from serving import following
from serving.config import Deployment
from serving.deployment import Resolved
from serving.following import DraftFollower


class Registry:
    """Stands in for the resolver: answers from a table, or fails."""

    def __init__(self):
        self.labels = {"registry://sql@champion": "sql@v1", "registry://math@champion": "math@v4"}
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.further: dict[str, str] = {}

    def further_topics(self) -> dict[str, str]:
        if self.error is not None:
            raise self.error
        return self.further

    def resolve(self, reference: str, _name: str) -> Resolved:
        self.asked.append(reference)
        if self.error is not None:
            raise self.error
        return Resolved(Path("folder"), self.labels[reference], {"alpha": "0.71"})


@pytest.fixture
def registry(monkeypatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(following, "Resolver", lambda _deployment: registry)
    monkeypatch.setattr(following, "check_version", lambda _deployment, _draft: None)
    return registry


@pytest.fixture
def sent() -> list[DraftSpec]:
    return []


@pytest.fixture
def follower(registry, sent) -> DraftFollower:
    topics = {"sql": {"model": "registry://sql@champion"}, "math": {"model": "registry://math@champion"}}
    drafts = {"general": {"model": "/a/folder"}, "topics": topics}
    deployment = Deployment.model_validate({"name": "toy", "drafts": drafts})
    labels = {"general": "general", "sql": "sql@v1", "math": "math@v4"}
    specs = {name: DraftSpec(name, label, Path(name)) for name, label in labels.items()}
    return DraftFollower(deployment, specs, sent.append)


def test_nothing_is_handed_on_while_nothing_moves(follower, registry, sent):
    """Folders are not asked about: only references can move."""
    follower.look()
    assert sent == []
    assert registry.asked == ["registry://sql@champion", "registry://math@champion"]


def test_a_version_behind_a_moved_alias_is_handed_on_once(follower, registry, sent):
    registry.labels["registry://sql@champion"] = "sql@v2"
    follower.look()
    follower.look()
    assert sent == [DraftSpec("sql", "sql@v2", Path("folder"), Prior(0.71))]
    registry.labels["registry://sql@champion"] = "sql@v1"
    follower.look()
    assert [spec.label for spec in sent] == ["sql@v2", "sql@v1"]


def test_a_version_that_does_not_fit_is_said_once_and_looked_at_once(follower, registry, sent, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise IncompatibleDraft("sql@v2 was made for another target")

    registry.labels["registry://sql@champion"] = "sql@v2"
    monkeypatch.setattr(following, "check_version", refuse)
    follower.look()
    follower.look()
    assert sent == []
    assert [record.getMessage() for record in caplog.records] == [
        "draft sql stays as it is: sql@v2 was made for another target"
    ]


def test_a_registry_that_is_gone_is_said_once_and_asked_again(follower, registry, sent, caplog):
    registry.error = RegistryError("no registry answers")
    for _ in range(3):
        follower.look()
    assert len(caplog.records) == 2  # once a draft
    registry.error = None
    registry.labels["registry://math@champion"] = "math@v5"
    follower.look()
    assert [spec.label for spec in sent] == ["math@v5"]


class TestFurtherTopics:
    @pytest.fixture
    def follows(self, registry, sent) -> DraftFollower:
        """Names one topic, and follows the registry's."""
        drafts = {"topics": {"sql": {"model": "registry://sql@champion"}}, "general": None, "follow": True}
        deployment = Deployment.model_validate({"name": "toy", "drafts": drafts})
        return DraftFollower(deployment, {"sql": DraftSpec("sql", "sql@v1", Path("sql"))}, sent.append)

    def test_a_topic_that_the_registry_gained_is_handed_on_once(self, follows, registry, sent):
        """And later versions of it as those of any other."""
        follows.look()
        assert sent == []
        registry.further = {"medical": "registry://medical@champion"}
        registry.labels["registry://medical@champion"] = "medical@v1"
        follows.look()
        follows.look()
        assert [(spec.name, spec.label) for spec in sent] == [("medical", "medical@v1")]
        registry.labels["registry://medical@champion"] = "medical@v2"
        follows.look()
        assert sent[-1].label == "medical@v2"

    def test_nobody_asks_for_topics_where_the_deployment_does_not_follow(self, follower, registry, sent):
        registry.further = {"medical": "registry://medical@champion"}
        follower.look()
        assert sent == []

    def test_a_registry_that_is_gone_is_survived(self, follows, registry, sent):
        registry.error = RegistryError("gone")
        follows.look()
        registry.error = None
        registry.further = {"medical": "registry://medical@champion"}
        registry.labels["registry://medical@champion"] = "medical@v1"
        follows.look()
        assert [spec.name for spec in sent] == ["medical"]
