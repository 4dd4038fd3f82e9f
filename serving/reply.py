"""Replies in OpenAI's shapes: whole bodies, stream chunks, usage."""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.generation import Generation

Kind = Literal["chat", "text"]
_WHOLE = {"chat": "chat.completion", "text": "text_completion"}
_CHUNK = {"chat": "chat.completion.chunk", "text": "text_completion"}

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """The frame that every body and chunk of one answer shares."""

    kind: Kind
    id: str
    model: str
    prompt_tokens: int
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, generation: Generation, **extras: Any) -> dict[str, Any]:
        """The body of an answer that was not streamed."""
        content: dict[str, Any] = {"text": text}
        if self.kind == "chat":
            content = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": generation.finish_reason}
        return {
            **self._frame(_WHOLE[self.kind]),
            "choices": [choice],
            "usage": self.usage(generation),
            "polydraft": {**generation.report(), **extras},
        }

    def opening(self) -> dict[str, Any] | None:
        """The chunk that says who speaks; plain completions have none."""
        return self._chunk({"role": "assistant", "content": ""}) if self.kind == "chat" else None

    def chunk(self, text: str, **extras: Any) -> dict[str, Any]:
        """Some more text."""
        return self._chunk({"content": text} if self.kind == "chat" else text, **extras)

    def closing(self, generation: Generation) -> dict[str, Any]:
        """The chunk with the finish reason and the figures."""
        delta: Any = {} if self.kind == "chat" else ""
        return self._chunk(delta, generation.finish_reason, polydraft=generation.report())

    def usage_chunk(self, generation: Generation) -> dict[str, Any]:
        """The last chunk, for those who asked for it."""
        return {**self._frame(_CHUNK[self.kind]), "choices": [], "usage": self.usage(generation)}

    def usage(self, generation: Generation) -> dict[str, int]:
        """Tokens in and out; an end token counts, tokens behind a stop string do not."""
        out = generation.num_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": out,
            "total_tokens": self.prompt_tokens + out,
        }

    def _chunk(self, content: Any, finish_reason: str | None = None, **extras: Any) -> dict[str, Any]:
        key = "delta" if self.kind == "chat" else "text"
        choice = {"index": 0, key: content, "logprobs": None, "finish_reason": finish_reason}
        return {**self._frame(_CHUNK[self.kind]), "choices": [choice], **extras}

    def _frame(self, name: str) -> dict[str, Any]:
        return {"id": self.id, "object": name, "created": self.created, "model": self.model}


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
