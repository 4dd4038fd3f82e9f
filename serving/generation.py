"""One answer as it grows: tokens to text, stop strings, and the figures at its end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from configs.errors import PolydraftError
from decoding.request import FinishReason, Origin, SpeculationCounts
from serving.dispatch import Ticket
from serving.logprobs import NamedLogprob
from serving.piece import Piece, Token
from serving.report import report
from serving.stopping import StopMatcher
from serving.text import TextCodec
from serving.wire import Output, Routing


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
        self._names = codec.token_bytes
        self._told: Routing | None = None
        self._num_shown = 0  # characters
        self._detokenizer = codec.detokenizer(prompt_token_ids)
        self._matcher = StopMatcher(stops)

    async def pieces(self) -> AsyncIterator[list[Piece]]:
        """The answer: what has come by now, a piece a target run. Under load several come at once.

        Raises:
            PolydraftError: what the worker or the deadline reported.
        """
        inbox = self.ticket.inbox
        while True:
            come = [await inbox.get()]
            while not inbox.empty():
                come.append(inbox.get_nowait())
            pieces: list[Piece] = []
            for output in come:
                if isinstance(output, PolydraftError):
                    if pieces:
                        yield pieces
                    raise output
                pieces.append(self._take(output))
                if self.finish_reason is not None:
                    break
            yield pieces
            if self.finish_reason is not None:
                return

    def _take(self, output: Output) -> Piece:
        drafted = output.counts.num_draft_tokens - self.counts.num_draft_tokens
        self.counts = output.counts
        piece = Piece(output.counts.num_target_runs, offset=self._num_shown, drafted=drafted, routing=self._news())
        if output.refused is not None and output.origins[-1] is Origin.CORRECTED:
            piece.refused = Token(output.refused, self._names[output.refused].decode(errors="replace"), Origin.DRAFT)
        reason = FinishReason(output.finish_reason) if output.finish_reason else None
        for index, (token_id, origin) in enumerate(zip(output.token_ids, output.origins, strict=True)):
            is_end = reason is FinishReason.STOP and index == len(output.token_ids) - 1
            text = "" if is_end else self._matcher.feed(self._detokenizer.feed(token_id))
            piece.tokens.append(Token(token_id, text, origin))
            if output.logprobs and not is_end:
                piece.tokens[-1].logprob = NamedLogprob.of(token_id, output.logprobs[index], self._names)
            if self._matcher.stopped:
                reason = FinishReason.STOP
                break
        if reason is not None:
            self._end(piece, reason)
        self.num_tokens += len(piece.tokens)
        self._num_shown += len(piece.text)
        self.origins.update(token.by for token in piece.tokens)
        return piece

    def _news(self) -> Routing | None:
        """The routing, once."""
        is_news, self._told = self.ticket.routing is not self._told, self.ticket.routing
        return self._told if is_news else None

    def _end(self, piece: Piece, reason: FinishReason) -> None:
        if not self._matcher.stopped:
            rest = self._matcher.feed(self._detokenizer.flush())
            rest += "" if self._matcher.stopped else self._matcher.flush()
            piece.tokens[-1].text += rest
        self.finish_reason = FinishReason.STOP if self._matcher.stopped else reason
        self.ticket.is_answered = True

    def report(self) -> dict[str, Any]:
        """The `polydraft` key of a reply."""
        return report(self.ticket.routing, self.counts, self.origins)


async def merged(generations: Sequence[Generation]) -> AsyncIterator[tuple[int, list[Piece] | None]]:
    """Pieces of several answers as they come, each with its answer's index; None where an answer has ended.

    Raises:
        PolydraftError: what one of them raised; the others are given up.
    """
    if len(generations) == 1:  # the ordinary case, at half the time
        async for pieces in generations[0].pieces():
            yield 0, pieces
        yield 0, None
        return
    streams = [generation.pieces() for generation in generations]
    coming = {asyncio.ensure_future(anext(stream, None)): index for index, stream in enumerate(streams)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task, index in [(task, coming[task]) for task in coming if task in done]:
                del coming[task]
                some = task.result()
                if some is not None:
                    coming[asyncio.ensure_future(anext(streams[index], None))] = index
                yield index, some
    finally:
        for task in coming:
            task.cancel()
