"""An HTTP client for server-sent events and nothing else.

It shares a small machine with the server that it asks, and a general client takes as much of a core for each event as
the server does: what was measured would be the client.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import urlsplit

from configs.errors import ServerError

_PREFIX, _CHUNK = b"data: ", 1 << 16


class EventClient:
    """Posts JSON and reads events, over connections that it keeps; an asynchronous context manager.

    It relies on what servers of events do: an event is one line of data and lies in one chunk of the body.
    """

    def __init__(self, url: str):
        place = urlsplit(url)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 80
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _reader, writer in self._idle:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def events(self, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
        """The data of each event of the answer to a POST.

        Raises:
            ServerError: another status than 200, or an answer that breaks off.
        """
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        is_whole = False
        try:
            writer.write(self._request(path, json.dumps(body).encode()))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise ServerError(f"the server answered {head.split()[1].decode()}", facts=(await _rest(reader, head),))
            async for line in _lines(reader):
                if line.startswith(_PREFIX):
                    yield line[len(_PREFIX) :]
            is_whole = True
        except asyncio.IncompleteReadError as error:
            raise ServerError("the server closed the connection") from error
        finally:
            if is_whole:
                self._idle.append((reader, writer))
            else:
                writer.close()

    def _request(self, path: str, body: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines of a body in chunks, those with the chunks' sizes included, without the one that ends it."""
    begun, ending = b"", False
    while True:
        data = await reader.read(_CHUNK)
        if not data:
            raise ServerError("the server closed the connection")
        *lines, begun = (begun + data).split(b"\n")
        for line in lines:
            if ending and line == b"\r":
                return
            ending = line == b"0\r"
            yield line


async def _rest(reader: asyncio.StreamReader, head: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return (await reader.readexactly(int(line.split(b":")[1]))).decode(errors="replace")
    return ""
