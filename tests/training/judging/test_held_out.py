"""Which requests a candidate is judged by: never such as a draft may have learned from."""

import json
from dataclasses import replace

import pytest

from configs.errors import ConfigError
from decoding.request import SamplingParams
from tests.serving.toy_folder import write_toy
from tests.toy_traces import make_trace
from training.distillation.material import part_of
from training.judging.held_out import Validation, recorded
from training.online.split import is_held_out

TRACES = [make_trace(number) for number in range(400)]


def _numbers(traces):
    return [trace.token_ids[0] for trace in traces]


def test_a_prompt_that_anybody_learns_from_is_left_out():
    """A fifth at most, whatever more the learner holds out; all in the order in which they were recorded."""
    found = recorded(TRACES, share=0.2, is_distilled=False)
    assert 50 < len(found) < 110
    assert _numbers(found) == sorted(_numbers(found))
    assert all(part_of(trace) != "train" and is_held_out(trace, 0.2) for trace in found)
    assert _numbers(recorded(TRACES, share=0.5, is_distilled=False)) == _numbers(found)
    fewer = recorded(TRACES, share=0.15, is_distilled=False)
    assert len(fewer) < len(found)
    assert all(is_held_out(trace, 0.15) for trace in fewer)


def test_a_distilled_draft_is_not_judged_by_what_its_weights_were_chosen_on():
    """The development half falls away."""
    found = recorded(TRACES, share=0.2, is_distilled=True)
    assert {part_of(trace) for trace in found} == {"validation"}
    assert len(found) > 20


def test_the_newest_are_taken_and_what_cannot_be_replayed_is_not():
    """Answers of a lossy rule follow another law."""
    every = recorded(TRACES, 0.2, is_distilled=False)
    assert _numbers(recorded(TRACES, 0.2, is_distilled=False, most=7)) == _numbers(every)[-7:]
    lossy = replace(every[0], sampling=SamplingParams(temperature=1.0, lossy="typical"))
    assert recorded([lossy, every[1]], 0.2, is_distilled=False) == [every[1]]


@pytest.fixture
def target(tmp_path):
    """A toy with a tokenizer."""
    return write_toy(tmp_path / "target", layers=1)


def _write(file, count, **facts):
    file.write_text("".join(json.dumps({"prompt": f"{file.stem} {n}", **facts}) + "\n" for n in range(count)))


def test_validation_prompts_of_the_topic_are_answered_look_by_look(target, tmp_path):
    """Every look begins with the last one's answers; greedy and drawn ones are mixed, and kept."""
    data = tmp_path / "data"
    data.mkdir()
    _write(data / "sql.jsonl", 70, split="validation")
    _write(data / "math.jsonl", 5, split="validation")
    told = []
    given = Validation(data, "sql", target, tmp_path / "kept", 64, lambda *counts: told.append(counts))
    first, second = given.looks()
    assert told == [(64, 70), (70, 70)]
    assert [each.token_ids for each in second[: len(first)]] == [each.token_ids for each in first]
    assert [each.sampling.temperature for each in first[:5]] == [0.0, 0.0, 0.0, 0.8, 0.8]
    (again,) = list(replace(given, topic="general").looks(10))
    assert len(given.prompts()) == 70
    assert len(again) == 10
    with pytest.raises(ConfigError, match="no validation prompts of chat"):
        replace(given, topic="chat").prompts()
