"""The routes of what a server shows of itself."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from configs.errors import RequestError
from registry.location import locate
from router.proposal import proposal_file
from serving.config import Deployment
from serving.endpoints import OpenAISpec
from serving.health import health_document
from serving.observer import Observer, Observers
from serving.seeing.history import RANGES
from serving.seeing.live import live_document
from serving.seeing.metrics import CONTENT_TYPE, Metrics
from serving.seeing.page_files import HEADERS, INDEX, page_files
from serving.seeing.publication import publication_of
from serving.seeing.regret_file import FILE, RegretFile
from serving.seeing.responses import ResponseCounter
from serving.seeing.shadow_table import ShadowTable
from serving.seeing.state import State, aliases_of
from serving.seeing.watch import Watch

_DEFAULT_RANGE = "1h"


class Seeing:
    """Everything that looks on, on one app; it lives in the HTTP process.

    Figures need the key that answers need. The page itself is for everybody: it holds none.
    """

    def __init__(self, deployment: Deployment, slots: int, spec: OpenAISpec):
        self.watch = Watch(slots)
        self._publication = publication_of(deployment)
        self._spec = spec
        self._aliases = aliases_of(deployment)
        labels = _labels(deployment)
        self._regret, self._shadow = RegretFile(labels / FILE), ShadowTable(labels)
        state = State(
            self.watch,
            self._aliases,
            self._regret,
            lambda: spec.dispatcher.worker_died,
            self._not_followed,
            self._published,
            self._verdicts,
            proposal_file(locate(deployment.registry).state, deployment.name).drift_verdicts,
        )
        self._metrics = Metrics(self.watch.tally, state.values, self._worker)
        self._files = page_files()

    @property
    def observer(self) -> Observer:
        """What the dispatcher tells."""
        return Observers(self.watch, self._publication.journal) if self._publication is not None else self.watch

    def start(self) -> None:
        """In the main process, once the HTTP process is there: write what it wants to see in MLflow."""
        if self._publication is not None:
            self._publication.start(self._spec.desk.codec)

    def flush(self) -> None:
        """In the HTTP process, before it ends."""
        if self._publication is not None:
            self._publication.flush()

    def end(self) -> None:
        """In the main process, once the HTTP process has ended."""
        if self._publication is not None:
            self._publication.end()

    def mount(self, app: FastAPI) -> None:
        """Add the routes, and count every response."""
        app.add_middleware(ResponseCounter, observer=self.watch)
        app.add_api_route("/", self.index, methods=["GET"])
        app.add_api_route("/live/{name}", self.file, methods=["GET"])
        app.add_api_route("/live.json", self.live, methods=["GET"])
        app.add_api_route("/metrics", self.metrics, methods=["GET"])

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        self._spec.authorise(request)
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def live(self, request: Request) -> Response:
        """GET /live.json?range=15m|1h|24h."""
        self._spec.authorise(request)
        name = request.query_params.get("range", _DEFAULT_RANGE)
        if name not in RANGES:
            raise RequestError(f"range {name!r} is none of {', '.join(RANGES)}", param="range")
        await asyncio.to_thread(self._shadow.refresh)
        document = live_document(self.watch, name, self._shadow.tokens_per_run, self._regret.topics, self._aliases)
        return JSONResponse({**self._server(), **document}, headers={"Cache-Control": "no-store"})

    async def index(self) -> Response:
        """GET /: the live page."""
        return await self.file(INDEX)

    async def file(self, name: str) -> Response:
        """GET /live/NAME: a part of the page."""
        if name not in self._files:
            raise HTTPException(404)
        found = self._files[name]
        return Response(found.content, headers={**HEADERS, "Content-Type": found.content_type})

    def _server(self) -> dict[str, Any]:
        desk = self._spec.desk
        health = health_document(desk.model_name, desk.slots, self._spec.dispatcher, desk.board)
        shown = {key: health[key] for key in ("status", "reasons", "model", "router", "router_version")}
        return {**shown, "proposed": health["topics"]["proposed"], "chat": desk.codec.has_chat_template}

    def _not_followed(self) -> bool:
        board = self._spec.desk.board
        return bool(board is not None and board.notices is not None and board.notices.reasons)

    def _verdicts(self) -> dict[str, dict[str, int]]:
        board = self._spec.desk.board
        return board.notices.verdicts if board is not None and board.notices is not None else {}

    def _published(self) -> tuple[int, int]:
        return (self._publication.written, self._publication.dropped) if self._publication is not None else (0, 0)

    def _worker(self) -> int | None:
        return self.watch.status.pid if self.watch.status is not None else None


def _labels(deployment: Deployment) -> Path:
    """Where `polydraft learn` keeps what the drafts that were not chosen would have cost."""
    return locate(deployment.registry).state / "labels" / deployment.name
