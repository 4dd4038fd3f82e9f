"""Costs are measured once for a machine and models of some shape, and again whenever there is a doubt."""

import json

import pytest

from decoding import cost_store
from decoding.cost_store import stored_or_measured
from decoding.costs import StepCosts, seconds_for_rows
from tests.toys import ToyModel

COSTS = StepCosts({1: 1.0, 8: 1.5}, {1: 0.1, 8: 0.2}, 0.001, 64), 2.0


def models(vocab_size=5, num_slots=4):
    return ToyModel(vocab_size, 0, num_slots=num_slots), ToyModel(vocab_size, 1, num_slots=num_slots)


@pytest.fixture
def measured(monkeypatch):
    """Counts the measurements, which all give `COSTS`; quick looks agree with them."""
    calls = []
    monkeypatch.setattr(cost_store, "measure_costs", lambda *models: calls.append(models) or COSTS)
    monkeypatch.setattr(
        cost_store, "seconds_for_rows", lambda _, rows: {n: 0.002 * COSTS[0].target_run(n) for n in rows}
    )
    return calls


def test_what_was_measured_is_used_again(tmp_path, measured):
    """At the next start, for other weights of the same shapes too; other shapes are measured by themselves."""
    folder = tmp_path / "cache" / "costs"
    assert [stored_or_measured(*models(), folder) for _ in range(3)] == [COSTS] * 3
    assert len(measured) == 1
    stored_or_measured(*models(vocab_size=6), folder)
    stored_or_measured(*models(num_slots=2), folder)
    assert len(measured) == len(list(folder.iterdir())) == 3


NOTHING = '{"target": {}, "draft": {}, "attention_per_token": 0, "context": 1, "milliseconds": 1}'


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", NOTHING])
def test_a_damaged_file_is_measured_anew_and_mended(tmp_path, measured, text):
    """Whatever stands in it."""
    stored_or_measured(*models(), tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    file.write_text(text)
    assert stored_or_measured(*models(), tmp_path) == COSTS
    assert len(measured) == 2
    assert file.read_text() == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [("milliseconds", float("nan")), ("draft", {"1": -1}), ("target", {"1": 1, "8": "x"}), ("context", None)],
)
def test_a_senseless_figure_is_not_believed(tmp_path, measured, name, value):
    """It would decide about every step."""
    stored_or_measured(*models(), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    assert stored_or_measured(*models(), tmp_path) == COSTS
    assert len(measured) == 2


def test_what_a_quick_look_does_not_confirm_is_measured_anew(tmp_path, measured, monkeypatch):
    """Figures of a busy hour, or of a machine that is another one today."""
    stored_or_measured(*models(), tmp_path)
    monkeypatch.setattr(cost_store, "seconds_for_rows", lambda _, rows: dict.fromkeys(rows, 0.002))
    stored_or_measured(*models(), tmp_path)
    assert len(measured) == 2


def test_a_folder_that_cannot_be_written_costs_a_measurement_a_start(tmp_path, measured):
    """And nothing else."""
    (tmp_path / "file").touch()
    assert [stored_or_measured(*models(), tmp_path / "file") for _ in range(2)] == [COSTS] * 2
    assert len(measured) == 2


def test_a_quick_look_leaves_the_cache_as_it_was():
    """Every slot is free again, and every row count has a time."""
    model = ToyModel(5, 0)
    times = seconds_for_rows(model, [1, 3])
    assert list(times) == [1, 3]
    assert min(times.values()) > 0
    assert model.cache.num_free == 4
