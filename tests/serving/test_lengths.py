"""Who says how long proposals are: the deployment, or what this machine measures."""

from dataclasses import replace
from functools import partial

import pytest

from decoding.controller import LengthController
from decoding.load import load_model
from drafts.expansion import Expansion
from drafts.pool import DraftPool
from serving import building
from serving.building import lengths_for
from serving.config import Deployment
from serving.plan import Plan, make_plan
from tests.serving.toy_folder import toy_drafts, write_toys


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    toys = write_toys(tmp_path_factory.mktemp("toys"))
    target = {"model": str(toys / "target"), "slots": 2, "max_length": 256}
    return make_plan(
        Deployment.model_validate({"name": "toy", "target": target, "drafts": toy_drafts(toys), "router": None})
    )


@pytest.fixture(autouse=True)
def kept_here(tmp_path, monkeypatch):
    """What is measured goes nowhere else."""
    monkeypatch.setattr(building, "cache_folder", lambda: tmp_path / "kernels")


def lengths(plan: Plan) -> int | LengthController:
    load = partial(load_model, num_slots=plan.slots, max_length=plan.max_length)
    return lengths_for(plan, load(plan.target), DraftPool(plan.drafts, load, expansion=plan.expansion))


def test_a_length_that_is_asked_for_is_taken(plan):
    assert lengths(replace(plan, num_draft_tokens=3)) == 3


def test_a_controller_decides_where_nothing_is_asked_for(plan, tmp_path):
    assert isinstance(lengths(plan), LengthController)
    assert list((tmp_path / "costs").iterdir()) != []


def test_a_controller_decides_about_trees_up_to_their_depth(plan):
    found = lengths(replace(plan, expansion=Expansion((2, 1, 1))))
    assert isinstance(found, LengthController)
    assert found.longest == 3


def test_prompt_lookup_alone_needs_no_controller(plan):
    assert isinstance(lengths(replace(plan, drafts={})), int)
