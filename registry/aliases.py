"""Where aliases point, and how they move without two movers losing each other's move.

MLflow lets the last writer win. On one machine a lock file makes read and write one step; between
machines the time between the two is a few milliseconds, not none.
"""

from pathlib import Path
from typing import Any

from configs.errors import RegistryError
from registry.location import Location
from registry.names import CHAMPION, short_name

PREVIOUS = "previous_champion"  # tag of a version: the version that it replaced


def lock_file(location: Location, model: str) -> Path:
    """The lock that whoever moves an alias of ``model`` holds."""
    return location.state / "locks" / f"{model}.lock"


def current(client: Any, model: str, alias: str) -> int | None:
    """The version that ``alias`` points to, or None."""
    number = client.get_registered_model(model).aliases.get(alias)
    return None if number is None else int(number)


def point(client: Any, model: str, alias: str, version: int) -> None:
    """Move ``alias``; the caller holds the lock."""
    if alias == CHAMPION:
        before = current(client, model, alias)
        if before is not None and before != version:
            client.set_model_version_tag(model, str(version), PREVIOUS, str(before))
    client.set_registered_model_alias(model, alias, str(version))


def move_back(client: Any, model: str, champion: int, previous: int) -> None:
    """Point ``champion`` from one version to the one before it; the caller holds the lock."""
    now = current(client, model, CHAMPION)
    if now != champion:
        raise RegistryError(
            f"champion of {model} points to {shown(now)} now, not to {shown(champion)}",
            do=f"look again, then: polydraft registry rollback {short_name(model)}",
        )
    client.set_registered_model_alias(model, CHAMPION, str(previous))


def shown(version: int | None) -> str:
    """``v3``, or ``nothing``."""
    return "nothing" if version is None else f"v{version}"
