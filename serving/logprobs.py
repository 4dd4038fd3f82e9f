"""Log-probabilities in OpenAI's two shapes, of chat and of plain completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from decoding.logprobs import TokenLogprob


class TokenNames(Protocol):
    """Bytes of a token by its id."""

    def __getitem__(self, token_id: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class NamedLogprob:
    """A token's bytes, its log-probability, and the most probable tokens in its place."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()

    @classmethod
    def of(cls, token_id: int, logprob: TokenLogprob, names: TokenNames) -> "NamedLogprob":
        """What the worker said about a token, with names for ids."""
        return cls(names[token_id], logprob.logprob, tuple((names[other], value) for other, value in logprob.top))


Places = Sequence[tuple[int, NamedLogprob]]  # with the character at which a token's text begins


def chat_logprobs(places: Places) -> dict[str, Any]:
    """``choices[].logprobs`` of a chat completion."""
    return {"content": [_entry(each) for _, each in places], "refusal": None}


def text_logprobs(places: Places) -> dict[str, Any]:
    """``choices[].logprobs`` of a plain completion; ``top_logprobs`` has the emitted token too."""
    return {
        "tokens": [_text(each.token) for _, each in places],
        "token_logprobs": [each.logprob for _, each in places],
        "top_logprobs": [_alternatives(each) for _, each in places],
        "text_offset": [offset for offset, _ in places],
    }


def _entry(named: NamedLogprob) -> dict[str, Any]:
    return {**_token(named.token, named.logprob), "top_logprobs": [_token(*each) for each in named.top]}


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


def _alternatives(named: NamedLogprob) -> dict[str, float]:
    listed: dict[str, float] = {}
    for token, logprob in (*named.top, (named.token, named.logprob)):
        listed.setdefault(_text(token), logprob)  # parts of characters share one text; the most probable one stands
    return listed


def _text(token: bytes) -> str:
    return token.decode(errors="replace")
