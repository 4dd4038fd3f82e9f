"""What must leave no trace leaves none, whole or in part."""

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from decoding.trace_log import LogLimits, TraceLog
from decoding.trace_reader import TraceReader
from serving.redaction import Redactor, function_called
from serving.traces import TracePlan, TracesSection, plan_traces
from tests.toy_traces import make_trace


def decode(token_ids):
    """Tokens that read as their numbers, so that patterns have something to find."""
    return "".join(f"<{token_id}>" for token_id in token_ids)


def refuses_short_prompts(prompt: str, answer: str) -> bool:
    return len(prompt) > 5


def raises(prompt: str, answer: str) -> bool:
    raise RuntimeError(prompt)


def test_patterns_are_looked_for_in_prompt_answer_and_across_them():
    trace = make_trace(7)
    prompt, answer = trace.token_ids[: trace.prompt_length], trace.answer_ids
    border = f"<{prompt[-1]}><{answer[0]}>"
    for pattern in (f"<{prompt[0]}>", f"<{answer[-1]}>", border):
        assert not Redactor([r"no such text", pattern], None, decode)(trace)
    assert Redactor([r"no such text"], None, decode)(trace)


def test_a_function_decides_about_the_rest_and_keeps_nothing_where_it_fails(caplog):
    """The log names the kind of failure only: its message may hold the prompt."""
    trace = make_trace(7)
    assert not Redactor([], lambda prompt, _: "<7>" not in prompt, decode)(trace)
    assert Redactor([], lambda *_: True, decode)(trace)
    with caplog.at_level(logging.ERROR):
        assert not Redactor([], raises, decode)(trace)
    assert "RuntimeError" in caplog.text
    assert "<7>" not in caplog.text


def test_what_is_withheld_never_reaches_the_disk(tmp_path: Path):
    """Its neighbours do."""
    log = TraceLog(tmp_path, LogLimits(), keeps=Redactor(["^<3>"], None, decode))
    for number in range(6):
        log.append(make_trace(number))
    log.close()
    assert [trace.token_ids[0] for trace in TraceReader(tmp_path)] == [0, 1, 2, 4, 5]
    assert (log.state.written, log.state.dropped) == (5, 0)


def test_the_section_takes_patterns_and_a_functions_name(tmp_path: Path, toy: Path):
    """Both are tried before anything is served."""
    with pytest.raises(ValidationError, match="no regular expression"):
        TracesSection(redact=("(",))
    with pytest.raises(ValidationError, match="redact_with"):
        TracesSection(redact_with="os.system")
    section = TracesSection(enabled=True, folder=str(tmp_path), redact_with="no_such_module:keep")
    with pytest.raises(ConfigError, match="no_such_module"):
        plan_traces(section, "toy", lambda: "t", toy)
    with pytest.raises(ConfigError, match="is no function"):
        function_called("serving.redaction:logger")
    assert function_called("tests.serving.test_redaction:refuses_short_prompts")("long enough", "")


def test_a_plan_loads_a_tokenizer_only_to_look_for_something(tmp_path: Path, toy: Path):
    plan = TracePlan(tmp_path, "t", 3, 1.0, LogLimits(), toy)
    assert plan.redactor() is None
    assert TracePlan(tmp_path, "t", 3, 1.0, LogLimits(), toy, ("secret",)).redactor() is not None
