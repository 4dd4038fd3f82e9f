"""Drafts before the gate by hand; what the verdict rests on is tested in tests/training/gate."""

import shutil

import pytest
import torch

from configs.errors import CorpusError
from decoding.costs import StepCosts
from tests.serving.toy_folder import write_model
from tests.training.online.streams import stream, write_models
from training.gate import GateRule, Outcome
from training.judging import hearing
from training.judging.hearing import Hearing


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A target, a draft that does not know it, and 60 answers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    target, draft = write_models(tmp_path_factory.mktemp("made"))
    yield target, draft, stream(target, draft, 60)
    torch.set_num_threads(before)


def _hearing(made, champion, candidate, **changes):
    return Hearing(champion, candidate, made[0], 64, **changes)


def test_the_better_draft_passes_the_other_way_round_it_is_refused_and_a_copy_never_passes(made):
    """The target is its own best draft."""
    target, draft, traces = made
    assert _hearing(made, draft, target).judge([traces]).verdict.outcome is Outcome.PROMOTED
    assert _hearing(made, target, draft).judge([traces]).verdict.outcome is Outcome.REFUSED
    copy = _hearing(made, draft, draft).judge([traces]).verdict
    assert (copy.outcome, copy.difference) == (Outcome.REFUSED, 0.0)


def test_it_looks_again_until_the_gate_has_decided(made):
    """A look at too few requests says nothing; after the decision nobody asks for more."""
    target, draft, traces = made
    looked = []

    def looks():
        for size in (10, 40, 60):
            looked.append(size)
            yield traces[:size]

    found = _hearing(made, draft, target).judge(looks())
    assert (found.verdict.outcome, looked) == (Outcome.PROMOTED, [10, 40])
    with pytest.raises(CorpusError, match="only 29 held-out requests"):
        _hearing(made, draft, target).judge([traces[:29]])
    with pytest.raises(CorpusError, match="only 60"):
        _hearing(made, draft, target, rule=GateRule(burn_in=61)).judge([traces])
    with pytest.raises(CorpusError, match="only 0"):
        _hearing(made, draft, target).judge([])


def test_a_draft_of_another_shape_is_charged_its_own_steps(made, tmp_path, monkeypatch):
    """As good in target runs, a costlier draft loses."""
    target, draft, traces = made
    larger = tmp_path / "larger"
    shutil.copytree(draft, larger)
    write_model(larger, seed=9, layers=2)
    assert _hearing(made, draft, target).is_one_shape
    found = _hearing(made, target, larger)
    assert not found.is_one_shape
    by_layers = {1: 0.1, 2: 0.5}

    def measured(_, model):
        return StepCosts({1: 1.0, 2: 1.1}, {1: by_layers[model.config.num_layers]}), 1.0

    monkeypatch.setattr(hearing, "measure_costs", measured)
    before = found.judge([traces]).verdict
    by_layers[2] = 2.0
    dearer = _hearing(made, target, larger).judge([traces]).verdict
    assert dearer.outcome is Outcome.REFUSED
    assert dearer.difference < before.difference


def test_costs_are_measured_where_shapes_differ(made, tmp_path):
    """With the real clock: positive steps, one price of target runs."""
    draft = made[1]
    larger = tmp_path / "larger"
    shutil.copytree(draft, larger)
    write_model(larger, seed=9, layers=2)
    first, second, control = _hearing(made, draft, larger)._measured
    assert first.target == second.target
    assert first.draft_step(1) > 0
    assert second == control
