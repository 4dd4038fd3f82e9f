import contextlib

from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.observer import Observer
from serving.seeing.responses import ResponseCounter


class Book(Observer):
    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def responded(self, endpoint: str, code: int) -> None:
        self.lines.append((endpoint, code))


def test_routes_are_named_by_their_pattern_and_strangers_alike() -> None:
    """What a client writes into a path never becomes a label; a failure is a 500."""
    app, book = FastAPI(), Book()
    app.add_middleware(ResponseCounter, observer=book)

    @app.get("/models/{name}")
    async def model(name: str) -> str:
        assert name != "bad"
        return name

    with TestClient(app, raise_server_exceptions=False) as client:
        for path in ("/models/a", "/models/b", "/models/bad", "/nowhere/else"):
            with contextlib.suppress(AssertionError):
                client.get(path)
    assert book.lines == [("/models/{name}", 200), ("/models/{name}", 200), ("/models/{name}", 500), ("other", 404)]
