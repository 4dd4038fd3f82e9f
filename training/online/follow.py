"""All topics of a deployment, one after the other, until somebody says stop."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from configs.errors import ConfigError, PolydraftError
from registry.locks import attempt
from training.online.load import Stopped, Throttle
from training.online.subject import Subject
from training.online.update import cycle

logger = logging.getLogger(__name__)

_POLL_SECONDS = 5.0  # between two looks at the log


def once(subjects: Sequence[Subject]) -> int:
    """Do what is due now, as soon as load allows; how many drafts were promoted.

    Raises:
        PolydraftError: the registry, or a draft in it, cannot be used.
        Stopped: somebody asked for the end.
    """
    return sum(cycle(subject) for subject in subjects)


def follow(
    subjects: Sequence[Subject],
    between: Throttle,
    seconds: float = _POLL_SECONDS,
    beside: Mapping[str, Callable[[], None]] | None = None,
) -> int:
    """Go on until told to stop; how many promotions there were.

    A topic whose registry or draft cannot be used is said once and tried again.

    Args:
        beside: further work on the traces by name, a little of it a call (`training.labels.shadow`).
    """
    promoted = 0
    complaints: dict[str, str] = {}
    work: dict[str, Callable[[], bool | None]] = {each.book.topic: partial(cycle, each) for each in subjects}
    work.update(beside or {})
    try:
        while True:
            for name, do in work.items():
                try:
                    promoted += bool(do())
                    complaints.pop(name, None)
                except PolydraftError as error:
                    if complaints.get(name) != str(error):
                        logger.error("%s: %s; trying again", name, error)
                    complaints[name] = str(error)
            between.sleep(seconds)
    except Stopped:
        return promoted


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The only learner of ``folder``.

    Raises:
        ConfigError: there is one already.
    """
    with attempt(folder / "learner.lock") as is_free:
        if not is_free:
            raise ConfigError("another polydraft learn is at work on this deployment", do="stop it, or leave it to it")
        yield
