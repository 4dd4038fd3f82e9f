"""Prompts out of recorded traffic."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from configs.errors import ConfigError
from decoding.trace_log import TraceLog
from router.costs import CostTable, Prices
from tests.serving.toy_folder import write_tokenizer
from tests.toy_traces import make_trace
from training.distillation.prompts import encode
from training.routing.prompts import Labelled
from training.routing.retrain import Labels
from training.routing.traces import traced_prompts

ASKED = (("the one", "sql"), ("the two", "math"), ("the two", "math"), ("and a third", None))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "target")
    return tmp_path / "target"


@pytest.fixture
def folder(tmp_path: Path, target: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(target)
    log = TraceLog(tmp_path / "log")
    for number, (text, topic) in enumerate(ASKED):
        ids = encode(tokenizer, text)
        trace = make_trace(number, topic=topic, highest=60)
        log.append(dataclasses.replace(trace, token_ids=[*ids, *trace.answer_ids], prompt_length=len(ids)))
    log.close()
    return tmp_path / "log"


def test_each_prompt_comes_once_under_the_topic_that_it_was_routed_to(folder: Path, target: Path) -> None:
    """What nobody routed is left out."""
    found = traced_prompts(folder, target, "t")
    assert sorted(found, key=lambda each: each.text) == [Labelled("the one", "sql"), Labelled("the two", "math")]


def test_measured_costs_count_for_more_than_what_was_routed(folder: Path, target: Path) -> None:
    """The clearly cheapest draft; where none is, what was routed says nothing either."""
    drafts = ("general", "sql", "math")
    runs = np.full((3, 3, 2), 10.0)
    runs[0, 2, 1] = 5.0  # of math on "the one"
    runs[1, 1, 1] = 9.9  # of sql on "the two": too close
    runs[2, 1, 1] = 4.0
    texts = ("the one", "the two", "and a third")
    table = CostTable(texts, ("",) * 3, drafts, drafts, np.full(3, 10, dtype=np.int64), runs)
    found = traced_prompts(folder, target, "t", Labels(table, Prices((0.0,) * 3, (1.0, 1.0))))
    assert sorted(found, key=lambda each: each.text) == [Labelled("and a third", "sql"), Labelled("the one", "math")]


def test_a_log_of_another_target_is_refused(folder: Path, target: Path) -> None:
    with pytest.raises(ConfigError, match="no routed prompts"):
        traced_prompts(folder, target, "another")
