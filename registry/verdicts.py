"""What becomes of a candidate: promoted, refused or rolled back, with the reason where people look for it.

The tags ``verdict`` and ``verdict_reason`` go to the version and to the run that made it.
"""

from typing import Literal

from registry import aliases
from registry.names import CHALLENGER, CHAMPION, Reference
from registry.store import Registry
from registry.version import Version

Verdict = Literal["promoted", "refused", "rolled back", "failed"]


def promote(registry: Registry, version: Version, expected_current: int | None, reason: str = "by hand") -> Version:
    """Make ``version`` the champion if the champion still is ``expected_current`` (None: there is none).

    It is no challenger any more, and remembers the champion before it for `roll_back`.

    Raises:
        AliasMoved: somebody else promoted meanwhile; nothing was changed.
    """
    registry.set_alias(version.model, CHAMPION, version.version, expected_current)
    registry.drop_alias(version.model, CHALLENGER, version.version)
    judge(registry, version, "promoted", reason)
    return registry.get(Reference(version.model, None, version.version))


def refuse(registry: Registry, version: Version, reason: str) -> Version:
    """Leave the champion; ``version`` becomes the challenger, whichever version that was before."""
    summary = next(model for model in registry.list_models(version.model) if model.model == version.model)
    registry.set_alias(version.model, CHALLENGER, version.version, summary.aliases.get(CHALLENGER))
    judge(registry, version, "refused", reason)
    return registry.get(Reference(version.model, None, version.version))


def roll_back(registry: Registry, model: str, reason: str = "by hand") -> tuple[Version, Version]:
    """Point the champion to the version before it; returns the one that left and the one that came back.

    Raises:
        AliasMoved: somebody else moved the champion meanwhile.
        RegistryError: there is no champion, none before it, or the one before it is gone.
    """
    left = registry.get(Reference(model, CHAMPION, None))
    back = registry.rollback(model)
    judge(registry, left, "rolled back", reason)
    return left, back


def judge(registry: Registry, version: Version, verdict: Verdict, reason: str) -> None:
    """Write verdict and reason to the version and to its run."""
    tags = {"verdict": verdict, "verdict_reason": reason}
    registry.set_tags(version, tags)
    if version.run_id is not None:
        registry.set_run_tags(version.run_id, tags)


def chain(versions: dict[int, Version], champion: int | None) -> list[int]:
    """The champion and the versions that rollbacks would lead to, one after the other."""
    found: list[int] = []
    while champion is not None and champion not in found:
        found.append(champion)
        version = versions.get(champion)
        previous = version.tags.get(aliases.PREVIOUS, "") if version is not None else ""
        champion = int(previous) if previous.isdigit() else None
    return found
