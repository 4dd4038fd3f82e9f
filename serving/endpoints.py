"""The HTTP routes, as a LitServe spec: chat and plain completions, models, health."""

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from litserve.specs.base import LitSpec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from configs.errors import PolydraftError, RequestError
from serving.admission import Admission, choices
from serving.answering import stream, whole
from serving.dispatch import Dispatcher, Ticket
from serving.errors import BodyTooLargeError, UnauthorizedError, UnknownModelError
from serving.generation import Generation
from serving.health import STATUS_CODES, Board, health_document
from serving.openapi import openapi_document
from serving.reply import Kind, Reply
from serving.schema import ChatRequest, CompletionRequest, R, parse
from serving.text import TextCodec
from serving.wire import Job

MAX_BODY_BYTES = 10_000_000
_MOST_DRAINED_BYTES = 10 * MAX_BODY_BYTES  # a client that is still sending cannot read why it is refused


@dataclass(slots=True)
class Desk:
    """What the routes work with. It lives in the HTTP process only."""

    model_name: str
    codec: TextCodec
    admission: Admission
    slots: int
    api_keys: tuple[bytes, ...]
    board: Board | None = None
    dispatcher: Dispatcher | None = None  # from the moment the HTTP process starts


class OpenAISpec(LitSpec):
    """OpenAI's routes on a `Desk`, which is there before the first request."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self.api_path = "/v1/chat/completions"  # LitServe names the request queue after it
        self._started = int(time.time())

    def pre_setup(self, lit_api: Any) -> None:  # noqa: ARG002 (LitServe's signature)
        self.add_endpoint("/v1/chat/completions", self.chat, ["POST"])
        self.add_endpoint("/v1/completions", self.completions, ["POST"])
        self.add_endpoint("/v1/models", self.models, ["GET"])
        self.add_endpoint("/v1/models/{name}", self.model, ["GET"])
        self.add_endpoint("/health", self.health, ["GET"])
        self.add_endpoint("/openapi.json", self.description, ["GET"])

    def __getstate__(self) -> dict[str, Any]:
        """The worker receives a copy without what belongs to the HTTP process."""
        return {**super().__getstate__(), "_desk": None, "_endpoints": [], "data_streamer": None}

    @property
    def stream(self) -> bool:
        """LitServe then keeps messages in order instead of overwriting them."""
        return True

    def open(self, desk: Desk) -> None:
        """Work with ``desk`` from now on."""
        self._desk = desk

    @property
    def desk(self) -> Desk:
        assert self._desk is not None
        return self._desk

    @property
    def dispatcher(self) -> Dispatcher:
        assert self.desk.dispatcher is not None
        return self.desk.dispatcher

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        return await self._answer(request, ChatRequest, self.desk.admission.chat, "chat")

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        return await self._answer(request, CompletionRequest, self.desk.admission.completion, "text")

    async def models(self, request: Request) -> Response:
        """GET /v1/models: the one that is served."""
        self.authorise(request)
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request, name: str) -> Response:
        """GET /v1/models/NAME."""
        self.authorise(request)
        if name != self.desk.model_name:
            raise UnknownModelError(f"model {name!r} is not served here; use {self.desk.model_name!r}", param="model")
        return JSONResponse(self._card())

    async def health(self, request: Request) -> Response:
        """GET /health: 200 when ready or degraded, else 503; always with reasons and load."""
        document = health_document(self.desk.model_name, self.desk.slots, self.dispatcher, self.desk.board)
        if not self._is_known(request):
            del document["topics"]  # proposed ones come with words out of prompts
        return JSONResponse(document, status_code=STATUS_CODES[document["status"]])

    async def description(self) -> Response:
        """GET /openapi.json: all of this, for programs."""
        return JSONResponse(openapi_document(self.desk.model_name, version("polydraft")))

    def _card(self) -> dict[str, Any]:
        return {"id": self.desk.model_name, "object": "model", "created": self._started, "owned_by": "polydraft"}

    def authorise(self, request: Request) -> None:
        """Return if a request may be answered.

        Raises:
            UnauthorizedError: it brings no key of this server, which has some.
        """
        if not self._is_known(request):
            raise UnauthorizedError("the API key is missing or unknown", do="send Authorization: Bearer KEY")

    def _is_known(self, request: Request) -> bool:
        if not self.desk.api_keys:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode()
        # Every key is compared, so that time tells nothing about them.
        matches = [hmac.compare_digest(given, key) for key in self.desk.api_keys]
        return scheme.lower() == "bearer" and any(matches)

    async def _answer(self, request: Request, kind: type[R], admit: Callable[[R, str], Job], shape: Kind) -> Response:
        self.authorise(request)
        asked = parse(kind, await _read_body(request))
        request_id = uuid.uuid4().hex
        jobs = choices(admit(asked, request_id), asked.n or 1)
        if len(jobs) > self.desk.slots:
            raise RequestError(f"n: this server decodes at most {self.desk.slots} answers at once", param="n")
        reply = Reply(
            shape,
            f"{'chatcmpl' if shape == 'chat' else 'cmpl'}-{request_id}",
            asked.model,
            len(jobs[0].token_ids),
            shows_tokens=bool(asked.polydraft and asked.polydraft.tokens),
            shows_logprobs=asked.num_logprobs is not None,
            is_lossy=asked.lossy is not None,
        )
        tickets = self._open(jobs)
        generations = [
            Generation(ticket, self.desk.codec, job.token_ids, asked.stop_strings)
            for ticket, job in zip(tickets, jobs, strict=True)
        ]
        if asked.stream:
            wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return _TicketStream(stream(reply, generations, wants_usage), self._close, tickets)
        try:
            return await _unless_disconnected(request, whole(reply, generations))
        finally:
            self._close(tickets)

    def _open(self, jobs: Sequence[Job]) -> list[Ticket]:
        """All jobs or none."""
        tickets: list[Ticket] = []
        try:
            for job in jobs:
                tickets.append(self.dispatcher.open(job))  # noqa: PERF401 (what was opened is closed after an error)
        except PolydraftError:
            self._close(tickets)
            raise
        return tickets

    def _close(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self.dispatcher.close(ticket)


class _TicketStream(StreamingResponse):
    """A stream that closes its tickets however it ends, even if it was never begun."""

    def __init__(
        self, events: AsyncIterator[bytes], close: Callable[[Sequence[Ticket]], None], tickets: Sequence[Ticket]
    ):
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._close, self._tickets = close, tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close(self._tickets)


async def _unless_disconnected(request: Request, answering: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    """The answer, or nothing once the client has left: after the body, the next message is its goodbye."""
    answer = asyncio.ensure_future(answering)
    goodbye = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answer, goodbye), return_when=asyncio.FIRST_COMPLETED)
        response: Response = JSONResponse(await answer) if answer.done() else Response(status_code=499)
    finally:
        for task in (answer, goodbye):
            task.cancel()
    return response


async def _read_body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MAX_BODY_BYTES:
                chunks.append(chunk)
            elif size > _MOST_DRAINED_BYTES:
                break
    except ClientDisconnect:
        raise RequestError("the client left before its request was whole") from None
    if size > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"the body is larger than {MAX_BODY_BYTES // 1_000_000} MB")
    return b"".join(chunks)
