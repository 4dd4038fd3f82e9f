"""What a plan becomes on a device: drafts of one shape in one stack, and the answers of the CPU."""

from pathlib import Path

import pytest

from decoding.device.loop import DeviceStepLoop
from decoding.device.model import DeviceModel
from decoding.device.placement import Placement
from decoding.request import SamplingParams
from drafts.device_drafter import DeviceDrafter
from drafts.stacked_drafter import StackedDrafter
from serving import building
from serving.building import build_engine
from serving.config import Deployment
from serving.engine import Engine
from serving.plan import make_plan
from serving.wire import Job
from tests.serving.toy_folder import toy_drafts, write_toys

NAMES = ("general", "sql", "math", "none")


def engine_of(folder: Path) -> Engine:
    target = {"model": str(folder / "target"), "slots": 4, "max_length": 128}
    sections = {"name": "toy", "target": target, "drafts": toy_drafts(folder), "router": None}
    return build_engine(make_plan(Deployment.model_validate({**sections, "decoding": {"num_draft_tokens": 3}})))


def answers(engine: Engine) -> dict[str, list[int]]:
    for number, name in enumerate(NAMES):
        engine.admit(Job(name, [5 + number, 6, 7], "", SamplingParams(max_tokens=24), draft=name))
    requests = {request.request_id: request for request in engine._loop.requests}
    while engine.busy:
        engine.advance()
    return {name: request.generated for name, request in requests.items()}


def test_drafts_are_stacked_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU, taken for a device: two drafts share a shape, the third is the target's; nothing is said otherwise."""
    folder = write_toys(tmp_path / "toys")
    expected = answers(engine_of(folder))
    monkeypatch.setattr(Placement, "is_cpu", False)
    engine = engine_of(folder)
    kinds = {name: type(engine._pool[name]) for name in NAMES[:3]}
    assert kinds == {"general": StackedDrafter, "sql": DeviceDrafter, "math": StackedDrafter}
    assert isinstance(engine._loop, DeviceStepLoop)
    assert answers(engine) == expected


def test_costs_are_measured_on_a_stacked_draft_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The general draft stands for all; it is a model like any other."""
    monkeypatch.setattr(building, "cache_folder", lambda: tmp_path / "kernels")
    monkeypatch.setattr(Placement, "is_cpu", False)
    folder = write_toys(tmp_path / "toys")
    target = {"model": str(folder / "target"), "slots": 2, "max_length": 192}
    sections = {"name": "toy", "target": target, "drafts": toy_drafts(folder), "router": None}
    engine = build_engine(make_plan(Deployment.model_validate(sections)))
    assert engine._lengths.costs.draft_step(1) > 0  # type: ignore[union-attr]
    general = engine._pool["general"]
    assert isinstance(general, StackedDrafter)
    assert isinstance(general.model, DeviceModel)
    assert general.model.cache.num_free == 2 * 2
