"""Where aliases point, and how they move without two movers losing each other's move.

MLflow lets the last writer win. On one machine a lock file makes read and write one step; between
machines the time between the two is a few milliseconds, not none.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.errors import RegistryError
from registry.location import Location
from registry.names import CHAMPION, short_name

PREVIOUS = "previous_champion"  # tag of a version: the version that it replaced
SINCE = "champion_since"  # tag of a version: when it became champion, in UTC


class AliasMoved(RegistryError):
    """Somebody else moved the alias since it was looked at."""


def lock_file(location: Location, model: str) -> Path:
    """The lock that whoever moves an alias of ``model`` holds."""
    return location.state / "locks" / f"{model}.lock"


def current(client: Any, model: str, alias: str) -> int | None:
    """The version that ``alias`` points to, or None."""
    number = client.get_registered_model(model).aliases.get(alias)
    return None if number is None else int(number)


def point(client: Any, model: str, alias: str, version: int) -> None:
    """Move ``alias``; the caller holds the lock.

    The tags of a champion are written first: killed in between, they lie at a version that is none yet.
    """
    if alias == CHAMPION:
        before = current(client, model, alias)
        if before is not None and before != version:
            client.set_model_version_tag(model, str(version), PREVIOUS, str(before))
        if before != version:
            client.set_model_version_tag(model, str(version), SINCE, _now())
    client.set_registered_model_alias(model, alias, str(version))


def expect(client: Any, model: str, alias: str, version: int | None) -> None:
    """Return if ``alias`` points to ``version`` (None: to nothing); the caller holds the lock.

    Raises:
        AliasMoved: it points elsewhere.
    """
    now = current(client, model, alias)
    if now != version:
        raise AliasMoved(
            f"{alias} of {model} points to {shown(now)} now, not to {shown(version)}",
            do=f"look again with polydraft registry show {short_name(model)}, then decide again",
        )


def move_back(client: Any, model: str, champion: int, previous: int) -> None:
    """Point ``champion`` from one version to the one before it; the caller holds the lock."""
    expect(client, model, CHAMPION, champion)
    client.set_model_version_tag(model, str(previous), SINCE, _now())
    client.set_registered_model_alias(model, CHAMPION, str(previous))


def drop(client: Any, model: str, alias: str, version: int) -> None:
    """Remove ``alias`` if it points to ``version``; the caller holds the lock."""
    if current(client, model, alias) == version:
        client.delete_registered_model_alias(model, alias)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def shown(version: int | None) -> str:
    """``v3``, or ``nothing``."""
    return "nothing" if version is None else f"v{version}"
