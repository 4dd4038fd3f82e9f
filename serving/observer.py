"""Who may look on while requests are served: told of every job, message and end, in the HTTP process."""

from typing import Literal

from serving.wire import Job, StepMessage

Failure = Literal["deadline", "error"]


class Observer:
    """Sees everything and changes nothing; this one does not even remember."""

    def opened(self, job: Job) -> None:
        """A job went to the worker."""

    def told(self, message: StepMessage) -> None:
        """The worker's message of one step, after its tokens went to their requests."""

    def failed(self, request_id: str, why: Failure) -> None:
        """A request will get no more tokens."""

    def closed(self, request_id: str, is_answered: bool) -> None:
        """Nobody waits for a request any more; once a job, whatever came of it."""

    def responded(self, endpoint: str, code: int) -> None:
        """An HTTP response began."""


class Observers(Observer):
    """Several, each told in turn."""

    def __init__(self, *observers: Observer):
        self._observers = observers

    def opened(self, job: Job) -> None:
        for each in self._observers:
            each.opened(job)

    def told(self, message: StepMessage) -> None:
        for each in self._observers:
            each.told(message)

    def failed(self, request_id: str, why: Failure) -> None:
        for each in self._observers:
            each.failed(request_id, why)

    def closed(self, request_id: str, is_answered: bool) -> None:
        for each in self._observers:
            each.closed(request_id, is_answered)

    def responded(self, endpoint: str, code: int) -> None:
        for each in self._observers:
            each.responded(endpoint, code)
