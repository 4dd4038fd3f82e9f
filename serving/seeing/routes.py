"""The routes of what a server shows of itself."""

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from registry.location import locate
from serving.config import Deployment
from serving.seeing.metrics import CONTENT_TYPE, Metrics
from serving.seeing.regret_file import FILE, RegretFile
from serving.seeing.responses import ResponseCounter
from serving.seeing.state import State, aliases_of
from serving.seeing.watch import Watch


class Seeing:
    """Everything that looks on, on one app; it lives in the HTTP process.

    Args:
        authorise: raises if a request may not see figures; the static page is for everybody.
        worker_died: whether there is nobody left to decode.
    """

    def __init__(
        self,
        deployment: Deployment,
        slots: int,
        authorise: Callable[[Request], None],
        worker_died: Callable[[], bool],
    ):
        self.watch = Watch(slots)
        self._authorise = authorise
        state = State(self.watch, aliases_of(deployment), RegretFile(_labels(deployment) / FILE), worker_died)
        self._metrics = Metrics(self.watch.tally, state.values, self._worker)

    def mount(self, app: FastAPI) -> None:
        """Add the routes, and count every response."""
        app.add_middleware(ResponseCounter, observer=self.watch)
        app.add_api_route("/metrics", self.metrics, methods=["GET"])

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        self._authorise(request)
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    def _worker(self) -> int | None:
        return self.watch.status.pid if self.watch.status is not None else None


def _labels(deployment: Deployment) -> Path:
    """Where `polydraft learn` keeps what the drafts that were not chosen would have cost."""
    return locate(deployment.registry).state / "labels" / deployment.name
