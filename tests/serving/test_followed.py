"""Topics that the registry holds and the deployment does not name: found, checked, left out where they do not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import IncompatibleDraft
from registry.names import CHAMPION
from registry.section import RegistrySection
from registry.store import Registry
from serving import followed
from serving.config import Deployment
from serving.deployment import Resolver
from serving.plan import make_plan
from tests.serving.toy_folder import write_model, write_tokenizer, write_toy


@pytest.fixture
def target(tmp_path) -> Path:
    return write_toy(tmp_path / "target", layers=1)


@pytest.fixture
def deployment(tmp_path, target) -> Deployment:
    """Names sql; the registry also has a champion of medical, a challenger of math and somebody else's draft."""
    section = RegistrySection(uri=f"sqlite:///{tmp_path}/mlflow.db")
    registry, draft = Registry.open(section), tmp_path / "draft"
    write_tokenizer(draft)
    write_model(draft, seed=1, layers=1)
    for model, alias in {
        "toy-draft-sql": CHAMPION,
        "toy-draft-medical": CHAMPION,
        "toy-draft-math": "challenger",
        "other-draft-shell": CHAMPION,
    }.items():
        registry.register(model, draft, {"topic": model.rpartition("-")[2]}, alias=alias)
    return Deployment.model_validate(
        {
            "name": "toy",
            "target": {"model": str(target), "max_length": 64},
            "drafts": {"general": None, "topics": {"sql": {"model": "registry://toy-draft-sql@champion"}}},
            "router": None,
            "registry": section.model_dump(),
        }
    )


def following(deployment: Deployment) -> Deployment:
    return deployment.model_copy(update={"drafts": deployment.drafts.model_copy(update={"follow": True})})


def test_only_champions_of_this_deployment_that_it_does_not_name_are_further_topics(deployment):
    assert Resolver(deployment).further_topics() == {"medical": "registry://toy-draft-medical@champion"}


def test_they_are_served_where_the_deployment_follows_and_else_not(deployment):
    plan = make_plan(deployment)
    assert set(followed.with_followed(plan, deployment).drafts) == {"sql"}
    found = followed.with_followed(plan, following(deployment))
    assert found.drafts["medical"].label == "medical@v1"
    assert found == replace(plan, drafts=found.drafts)


def test_one_that_does_not_fit_is_left_out_and_said(deployment, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise IncompatibleDraft("medical@v1 was made for another tokenizer")

    plan = make_plan(deployment)
    monkeypatch.setattr(followed, "check_version", refuse)
    assert set(followed.with_followed(plan, following(deployment)).drafts) == {"sql"}
    assert "topic medical is left out" in caplog.text
