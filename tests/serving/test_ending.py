import logging

import pytest

from serving.ending import QuietMonitor


def record(message: str, error: Exception | None) -> logging.LogRecord:
    info = (type(error), error, None) if error is not None else None
    return logging.LogRecord("litserve.server", logging.ERROR, "server.py", 1, message, (), info)


@pytest.mark.parametrize("error", [BrokenPipeError(), ConnectionResetError(), EOFError()])
def test_a_manager_that_is_gone_when_the_server_ends_is_no_news(error):
    assert not QuietMonitor().filter(record("Monitoring worker crashed", error))


@pytest.mark.parametrize(
    ("message", "error"),
    [("Monitoring worker crashed", RuntimeError()), ("something else", BrokenPipeError()), ("nothing happened", None)],
)
def test_whatever_else_happens_is_logged(message, error):
    assert QuietMonitor().filter(record(message, error))
