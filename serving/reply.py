"""Replies in OpenAI's shapes: whole bodies, stream chunks, usage."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from decoding.request import Origin, SpeculationCounts
from serving.generation import Generation
from serving.logprobs import chat_logprobs, text_logprobs
from serving.piece import Piece, Token
from serving.report import report

Kind = Literal["chat", "text"]
_WHOLE = {"chat": "chat.completion", "text": "text_completion"}
_CHUNK = {"chat": "chat.completion.chunk", "text": "text_completion"}
_LOGPROBS = {"chat": chat_logprobs, "text": text_logprobs}

_MARK = "\0"  # which no name of a model holds
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """The frame that every body and chunk of one request shares."""

    kind: Kind
    id: str
    model: str
    prompt_tokens: int
    created: int = field(default_factory=lambda: int(time.time()))
    shows_tokens: bool = False  # every token with its writer
    shows_logprobs: bool = False
    is_lossy: bool = False  # a rule that may change the answer was asked for
    _frames: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # around a text's event, by answer

    def whole(self, answers: Sequence[tuple[Generation, Sequence[Piece]]]) -> dict[str, Any]:
        """The body of what was not streamed.

        With several answers each carries a `polydraft` report of its own, and the body's sums them up.
        """
        choices = [self._answer(index, *answer) for index, answer in enumerate(answers)]
        generations = [generation for generation, _ in answers]
        reports = [{**self._report(generation), **self._tokens(pieces)} for generation, pieces in answers]
        if len(choices) > 1:
            choices = [{**choice, "polydraft": each} for choice, each in zip(choices, reports, strict=True)]
        return {
            **self._frame(_WHOLE[self.kind]),
            "choices": choices,
            "usage": self.usage(generations),
            "polydraft": reports[0] if len(reports) == 1 else {**_summary(generations), **self._lossy},
        }

    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk that says who speaks; plain completions have none."""
        return self._chunk(index, {"role": "assistant", "content": ""}) if self.kind == "chat" else None

    def event(self, index: int, piece: Piece) -> bytes | None:
        """Some more of an answer as an event; None if there is nothing to show."""
        if self.shows_tokens or piece.has_logprobs:
            return event(self._more(index, piece))
        text = piece.text
        if not text:
            return None
        # Most of what is sent under load, and all but the text the same every time.
        before, after = self._frames.get(index) or self._make_frame(index)
        return before + json.dumps(text, ensure_ascii=False).encode() + after

    def _make_frame(self, index: int) -> tuple[bytes, bytes]:
        empty = Piece(0, [Token(0, _MARK, Origin.PLAIN)])
        before, after = event(self._more(index, empty)).split(json.dumps(_MARK).encode())
        self._frames[index] = before, after
        return before, after

    def _more(self, index: int, piece: Piece) -> dict[str, Any]:
        content = {"content": piece.text} if self.kind == "chat" else piece.text
        tokens = piece.document() if self.shows_tokens else None
        return self._chunk(index, content, logprobs=self._logprobs([piece]), polydraft=tokens)

    def closing(self, index: int, generation: Generation) -> dict[str, Any]:
        """The chunk with an answer's finish reason and figures."""
        delta: Any = {} if self.kind == "chat" else ""
        return self._chunk(index, delta, generation.finish_reason, polydraft=self._report(generation))

    def usage_chunk(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """The last chunk, for those who asked for it."""
        return {**self._frame(_CHUNK[self.kind]), "choices": [], "usage": self.usage(generations)}

    def usage(self, generations: Sequence[Generation]) -> dict[str, int]:
        """Tokens in, once, and out, of all answers; an end token counts, tokens behind a stop string do not."""
        out = sum(generation.num_tokens for generation in generations)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": out,
            "total_tokens": self.prompt_tokens + out,
        }

    @property
    def _lossy(self) -> dict[str, Any]:
        return {"lossy": True} if self.is_lossy else {}

    def _report(self, generation: Generation) -> dict[str, Any]:
        return {**generation.report(), **self._lossy}

    def _answer(self, index: int, generation: Generation, pieces: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        content: dict[str, Any] = {"text": text}
        if self.kind == "chat":
            content = {"message": {"role": "assistant", "content": text, "refusal": None}}
        finish_reason = generation.finish_reason
        return {"index": index, **content, "logprobs": self._logprobs(pieces), "finish_reason": finish_reason}

    def _tokens(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return {"tokens": [piece.document() for piece in pieces]} if self.shows_tokens else {}

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if not self.shows_logprobs:
            return None
        return _LOGPROBS[self.kind]([place for piece in pieces for place in piece.logprobs()])

    def _chunk(
        self,
        index: int,
        content: Any,
        finish_reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
        polydraft: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        key = "delta" if self.kind == "chat" else "text"
        choice = {"index": index, key: content, "logprobs": logprobs, "finish_reason": finish_reason}
        document = {**self._frame(_CHUNK[self.kind]), "choices": [choice]}
        return document if polydraft is None else {**document, "polydraft": polydraft}

    def _frame(self, name: str) -> dict[str, Any]:
        return {"id": self.id, "object": name, "created": self.created, "model": self.model}


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def _summary(generations: Sequence[Generation]) -> dict[str, Any]:
    """Counts of all answers together, under the first one's routing."""
    counts = SpeculationCounts.total([generation.counts for generation in generations])
    origins = sum((generation.origins for generation in generations), Counter())
    return report(generations[0].ticket.routing, counts, origins)
