import pytest
from starlette.exceptions import HTTPException

from configs.errors import ConfigError, RequestError, ServerError
from serving.errors import (
    BodyTooLargeError,
    DeadlineError,
    PromptTooLongError,
    QueueFullError,
    UnauthorizedError,
    UnknownModelError,
    to_http,
)


class TestToHttp:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (RequestError("x"), 400),
            (PromptTooLongError("x"), 400),
            (UnauthorizedError("x"), 401),
            (UnknownModelError("x"), 404),
            (HTTPException(404), 404),
            (HTTPException(405), 405),
            (BodyTooLargeError("x"), 413),
            (QueueFullError("x"), 429),
            (ServerError("x"), 500),
            (ConfigError("x"), 500),
            (ZeroDivisionError("secret"), 500),
            (DeadlineError("x"), 504),
        ],
    )
    def test_every_error_has_openais_shape(self, error: Exception, status: int) -> None:
        """Clients read these four keys."""
        answer = to_http(error)
        assert answer.status == status
        assert set(answer.body["error"]) == {"message", "type", "param", "code"}

    def test_the_parameter_at_fault_is_named(self) -> None:
        """With what to do about it."""
        body = to_http(RequestError("stop is odd", do="leave it out", param="stop")).body
        assert (body["error"]["param"], body["error"]["message"]) == ("stop", "stop is odd: leave it out")

    def test_a_full_queue_says_when_to_come_back(self) -> None:
        """In the header that clients know."""
        assert "Retry-After" in to_http(QueueFullError("full")).headers

    def test_an_unexpected_error_keeps_its_secrets(self) -> None:
        """Its text belongs into the log."""
        assert "secret" not in str(to_http(ZeroDivisionError("secret")).body)
