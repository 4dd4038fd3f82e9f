"""From answers as they grow to what the client reads: server-sent events, or one body."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from configs.errors import PolydraftError
from serving.errors import to_http
from serving.generation import Generation, merged
from serving.piece import Piece
from serving.reply import DONE, Reply, event


async def stream(reply: Reply, generations: Sequence[Generation], wants_usage: bool) -> AsyncIterator[bytes]:
    """Server-sent events of all answers, as their tokens come; an error ends the stream as an event.

    Events that are ready together go out together: writing costs more than making them.
    """
    for index in range(len(generations)):
        if (opening := reply.opening(index)) is not None:
            yield event(opening)
    try:
        async for index, pieces in merged(generations):
            if pieces is None:
                yield event(reply.closing(index, generations[index]))
            elif events := [each for piece in pieces if (each := reply.event(index, piece)) is not None]:
                yield b"".join(events)
    except PolydraftError as error:
        yield event(to_http(error).body)
    else:
        if wants_usage:
            yield event(reply.usage_chunk(generations))
    yield DONE


async def whole(reply: Reply, generations: Sequence[Generation]) -> dict[str, Any]:
    """The body with all answers, once the last of them has ended.

    Raises:
        PolydraftError: one of them failed.
    """
    pieces: list[list[Piece]] = [[] for _ in generations]
    async for index, some in merged(generations):
        pieces[index] += some or []
    return reply.whole(list(zip(generations, pieces, strict=True)))
