"""A client for server-sent events."""

import asyncio
from collections.abc import Sequence

import pytest

from benchmarks.event_client import EventClient
from configs.errors import ServerError

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


ANSWER = [HEAD, chunk(b"data: one\n\n"), chunk(b"data: two\n\ndata: 0\n\n"), b"0\r\n\r\n"]


def ask(parts: Sequence[bytes], times: int = 1) -> tuple[list[list[bytes]], int]:
    """What a client reads of a server that sends ``parts``, each on its own, and how many connections it made."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(times):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            assert await reader.readexactly(length) == b'{"a": 1}'
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.close()

    async def run() -> list[list[bytes]]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, EventClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
            return [[event async for event in client.events("/x", {"a": 1})] for _ in range(times)]

    return asyncio.run(run()), connections


def test_events_arrive_whole_however_they_are_cut() -> None:
    """By event, at once, and byte by byte."""
    together = b"".join(ANSWER)
    for parts in (ANSWER, [together], [together[i : i + 1] for i in range(len(together))]):
        assert ask(parts) == ([[b"one", b"two", b"0"]], 1)


def test_a_connection_is_used_again() -> None:
    """Once its answer is over."""
    assert ask(ANSWER, times=3) == ([[b"one", b"two", b"0"]] * 3, 1)


def test_a_refusal_is_an_error_with_its_reason() -> None:
    """Of any status but 200."""
    refusal = b'HTTP/1.1 429 Too Many\r\nContent-Length: 13\r\n\r\n{"error": "x"}'
    with pytest.raises(ServerError, match="429") as caught:
        ask([refusal])
    assert '"error"' in caught.value.facts[0]


@pytest.mark.parametrize("parts", [[], [HEAD], [HEAD, chunk(b"data: one\n\n")], [HEAD[:20]]])
def test_an_answer_that_breaks_off_is_an_error(parts: list[bytes]) -> None:
    """Wherever it does."""
    with pytest.raises(ServerError, match="closed"):
        ask(parts)
