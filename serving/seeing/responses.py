"""Counts HTTP responses by route and status code."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.observer import Observer

NO_ROUTE = "other"


class ResponseCounter:
    """ASGI middleware. A route is named by its pattern, never by what a client wrote."""

    def __init__(self, app: ASGIApp, observer: Observer):
        self._app, self._observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._observer.responded(_endpoint(scope), message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            self._observer.responded(_endpoint(scope), 500)  # which the outermost middleware sends
            raise


def _endpoint(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", NO_ROUTE))
