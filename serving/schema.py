"""What clients may send: OpenAI's request bodies, checked strictly, with clear refusals."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from configs.errors import RequestError
from decoding.logprobs import MAX_TOP_LOGPROBS
from decoding.lossy import Lenient, Lossy, Typical
from decoding.proposal import MAX_DRAFT_TOKENS
from decoding.request import GREEDY_BELOW, MAX_LOGIT_BIAS

MAX_CHOICES = 128  # OpenAI's; a deployment decodes no more at once than it has slots
MAX_STOP_STRINGS = 4

# Parameters that would change the answer and are not served, with the values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


class StreamOptions(_Body):
    """How a stream reports."""

    include_usage: bool | None = None


class Extras(_Body):
    """polydraft's own switches. ``trace: false`` keeps a request out of the trace log; nothing puts it in."""

    tokens: bool | None = None
    trace: bool | None = None


class LossyChoice(_Body):
    """A rule that may change the answer, with settings of its own."""

    model_config = ConfigDict(extra="forbid")

    rule: Literal["typical", "lenient"]
    epsilon: float | None = None
    delta: float | None = None
    lenience: float | None = None

    @property
    def rule_settings(self) -> Lossy:
        """The rule with its settings, defaults filled in."""
        kind = Typical if self.rule == "typical" else Lenient
        given = self.model_dump(exclude={"rule"}, exclude_none=True)
        unknown = next((name for name in given if name not in kind.__dataclass_fields__), None)
        if unknown is not None:
            raise ValueError(f"{unknown} is no setting of {self.rule}")
        return kind(**given)

    @model_validator(mode="after")
    def _in_range(self) -> "LossyChoice":
        assert self.rule_settings
        return self


class GenerationRequest(_Body):
    """What chat and plain completions share. None always means the default."""

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-MAX_LOGIT_BIAS, le=MAX_LOGIT_BIAS)]] | None = None
    ignore_eos: bool | None = None
    user: str | None = None
    draft: str | None = None
    num_draft_tokens: Annotated[int, Field(ge=0, le=MAX_DRAFT_TOKENS)] | None = None
    lossy: LossyChoice | None = None
    polydraft: Extras | None = None

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wanted_tokens(self) -> int | None:
        """Most tokens of the answer, if the request says."""
        return self.max_tokens

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        """Token ids and what is added to their logits."""
        return tuple((int(token_id), bias) for token_id, bias in (self.logit_bias or {}).items())

    @property
    def num_logprobs(self) -> int | None:
        """Alternatives to report beside each token's log-probability; None reports nothing."""
        raise NotImplementedError

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        wrong = next((key for key in value or {} if not (key.isascii() and key.isdecimal())), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no token id")
        if value and len({int(key) for key in value}) < len(value):
            raise ValueError("a token is named twice")
        return value

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOP_STRINGS:
            raise ValueError(f"at most {MAX_STOP_STRINGS} stop strings")
        if not all(stops):
            raise ValueError("a stop string is empty")
        return value

    @model_validator(mode="after")
    def _supported(self) -> "GenerationRequest":
        for name, value in (self.model_extra or {}).items():
            if name in _UNSUPPORTED and value is not None and value not in _UNSUPPORTED[name]:
                raise RequestError(f"{name} is not supported by this server", do=f"leave {name} out", param=name)
        if self.lossy is not None and self.temperature is not None and self.temperature < GREEDY_BELOW:
            raise RequestError("lossy rules accept by probability", do="ask for a temperature above 0", param="lossy")
        return self


class TextPart(_Body):
    """One piece of a message."""

    type: Literal["text"]
    text: str


class Message(_Body):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(GenerationRequest):
    """Body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _logprobs_first(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs is set without logprobs", do="set logprobs to true", param="top_logprobs")
        return self


class CompletionRequest(GenerationRequest):
    """Body of POST /v1/completions: a text, or token ids."""

    prompt: str | list[int]
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs


R = TypeVar("R", bound=GenerationRequest)


def parse(kind: type[R], body: bytes) -> R:
    """Check a request body.

    Raises:
        RequestError: naming the parameter at fault.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise RequestError("the body is not a JSON object")
    if b"\\ud" in body.lower() and not _is_text(document):
        raise RequestError("the body is not Unicode text: it holds half a surrogate pair")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _refusal(error.errors()[0]) from None


def _is_text(document: dict[str, Any]) -> bool:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refusal(detail: ErrorDetails) -> RequestError:
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, RequestError):  # being a ValueError, it became part of the validation error
        return raised
    location = [part for part in detail["loc"] if isinstance(part, int) or part.islower()]
    param = str(location[0]) if location else None
    message = detail["msg"].removeprefix("Value error, ")
    where = _dotted(location)
    if detail["type"] == "missing":
        return RequestError(f"{where} is missing", param=param)
    return RequestError(f"{where}: {message[:1].lower()}{message[1:]}", param=param)


def _dotted(location: list[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
