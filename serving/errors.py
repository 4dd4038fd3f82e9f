"""What can go wrong with a request, and the one place where it becomes HTTP.

::

    RequestError (configs.errors)      400
    ├── PromptTooLongError                  400  code context_length_exceeded
    ├── UnauthorizedError                   401
    ├── UnknownModelError                   404
    ├── BodyTooLargeError                   413
    ├── QueueFullError                      429  with Retry-After
    └── DeadlineError               504
    ServerError (configs.errors)       500
    └── WorkerLostError                503  with Retry-After
"""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from configs.errors import PolydraftError, RequestError, ServerError


class PromptTooLongError(RequestError):
    """Prompt and answer do not fit into the deployment's length."""


class UnauthorizedError(RequestError):
    """The bearer token is missing or unknown."""


class UnknownModelError(RequestError):
    """The named model is not the one served."""


class BodyTooLargeError(RequestError):
    """The request body is larger than a request can be."""


class QueueFullError(RequestError):
    """Every slot and every waiting place is taken."""


class DeadlineError(RequestError):
    """The request ran longer than the deployment allows."""


class WorkerLostError(ServerError):
    """The model process died; the next one is on its way."""


@dataclass(frozen=True, slots=True)
class HttpError:
    """An error in OpenAI's shape."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


# Class -> status, OpenAI's type, code. The first match along the class's own ancestry counts.
_MAPPING: dict[type[PolydraftError], tuple[int, str, str | None]] = {
    PromptTooLongError: (400, "invalid_request_error", "context_length_exceeded"),
    UnauthorizedError: (401, "authentication_error", "invalid_api_key"),
    UnknownModelError: (404, "invalid_request_error", "model_not_found"),
    BodyTooLargeError: (413, "invalid_request_error", "body_too_large"),
    QueueFullError: (429, "rate_limit_error", "queue_full"),
    DeadlineError: (504, "timeout_error", "deadline_exceeded"),
    RequestError: (400, "invalid_request_error", None),
    WorkerLostError: (503, "server_error", "model_process_died"),
    ServerError: (500, "server_error", None),
}
_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
RETRY_AFTER_SECONDS = 1


def to_http(error: Exception) -> HttpError:
    """The answer to a request that failed with ``error``; unknown errors say nothing about their inside."""
    if isinstance(error, HTTPException):
        return _http_exception(error)
    for kind in type(error).__mro__:
        if kind in _MAPPING:
            assert isinstance(error, PolydraftError)
            status, type_, code = _MAPPING[kind]
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in _AGAIN else {}
            message = f"{error.what}: {error.do}" if error.do else error.what
            return HttpError(status, _body(message, type_, getattr(error, "param", None), code), headers)
    return HttpError(500, _body("the server failed on this request; its log says why", "server_error", None, None))


def _http_exception(error: HTTPException) -> HttpError:
    message = {404: "no such route; try /v1/chat/completions, /v1/completions, /v1/models or /health"}.get(
        error.status_code, str(error.detail)
    )
    kind = "invalid_request_error" if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    code = HTTPStatus(error.status_code).name.lower()
    return HttpError(error.status_code, _body(message, kind, None, code), dict(error.headers or {}))


def _body(message: str, type_: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}
