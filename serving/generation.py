"""One answer as it grows: tokens to text, stop strings, and the figures at its end."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.errors import PolydraftError
from decoding.request import FinishReason, Origin, SpeculationCounts
from serving.dispatch import Ticket
from serving.stopping import StopMatcher
from serving.text import TextCodec
from serving.wire import Output

_DIGITS = 4


@dataclass(slots=True)
class Token:
    """A token as shown: the text that appeared with it, and who wrote it."""

    id: int
    text: str
    by: Origin


@dataclass(slots=True)
class Piece:
    """What one target run added to the answer."""

    run: int
    tokens: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    def document(self) -> dict[str, Any]:
        """As it stands in a reply: pieces of text concatenate to the answer."""
        return {"run": self.run, "tokens": [{"id": t.id, "text": t.text, "by": t.by.value} for t in self.tokens]}


class Generation:
    """Reads a ticket's inbox and makes text of it.

    ``finish_reason``, ``counts`` and ``num_tokens`` are final once `pieces` has ended.
    """

    def __init__(self, ticket: Ticket, codec: TextCodec, prompt_token_ids: Sequence[int], stops: Sequence[str]):
        self.ticket = ticket
        self.counts = SpeculationCounts()
        self.finish_reason: FinishReason | None = None
        self.num_tokens = 0
        self.origins: Counter[Origin] = Counter()
        self._detokenizer = codec.detokenizer(prompt_token_ids)
        self._matcher = StopMatcher(stops)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer, a target run at a time.

        Raises:
            PolydraftError: what the worker or the deadline reported.
        """
        while self.finish_reason is None:
            output = await self.ticket.inbox.get()
            if isinstance(output, PolydraftError):
                raise output
            yield self._take(output)

    def _take(self, output: Output) -> Piece:
        self.counts = output.counts
        piece = Piece(output.counts.num_target_runs)
        reason = FinishReason(output.finish_reason) if output.finish_reason else None
        for index, (token_id, origin) in enumerate(zip(output.token_ids, output.origins, strict=True)):
            is_end = reason is FinishReason.STOP and index == len(output.token_ids) - 1
            text = "" if is_end else self._matcher.feed(self._detokenizer.feed(token_id))
            piece.tokens.append(Token(token_id, text, origin))
            if self._matcher.stopped:
                reason = FinishReason.STOP
                break
        if reason is not None:
            self._end(piece, reason)
        self.num_tokens += len(piece.tokens)
        self.origins.update(token.by for token in piece.tokens)
        return piece

    def _end(self, piece: Piece, reason: FinishReason) -> None:
        if not self._matcher.stopped:
            rest = self._matcher.feed(self._detokenizer.flush())
            rest += "" if self._matcher.stopped else self._matcher.flush()
            piece.tokens[-1].text += rest
        self.finish_reason = FinishReason.STOP if self._matcher.stopped else reason

    def report(self) -> dict[str, Any]:
        """The `polydraft` key of a reply: who drafted, why, and what came of it."""
        routing, counts = self.ticket.routing, self.counts
        return {
            "topic": routing.topic if routing else None,
            "draft": routing.draft if routing else "none",
            "confidence": routing.confidence if routing else None,
            "reason": routing.reason if routing else "undecided",
            "mean_acceptance_length": _rounded(counts.mean_acceptance_length),
            "draft_acceptance_rate": _rounded(counts.draft_acceptance_rate),
            "num_spec_steps": counts.num_drafts,
            "num_target_runs": counts.num_target_runs,
            "tokens_per_target_run": _rounded(counts.tokens_per_target_run),
            "accepted_per_position": counts.num_accepted_tokens_per_pos,
            "num_accepted_tokens": counts.num_accepted_tokens,
            "num_draft_tokens": counts.num_draft_tokens,
            "origins": {origin.value: count for origin, count in self.origins.items()},
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
