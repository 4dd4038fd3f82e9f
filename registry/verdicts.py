"""What becomes of a candidate: promoted, refused or rolled back, with the reason where people look for it.

The tags ``verdict`` and ``verdict_reason`` go to the version and to the run that made it. They are written after the
alias has moved; so that a kill in between leaves none unsaid, the intention is a tag of the model before it moves.
"""

import json
from typing import Literal

from configs.errors import RegistryError
from registry import aliases
from registry.names import CHALLENGER, CHAMPION, Reference
from registry.store import Registry
from registry.version import Version

Verdict = Literal["promoted", "passed", "refused", "rolled back", "failed"]
GATE_OUTCOME = "gate_outcome"  # tag of a version: what the gate said last: promoted, refused or undecided
GATE_AGAINST = "gate_against"  # tag of a version: the label of the version that it was compared with
INTENDED = "intended"  # tag of a model: a verdict that becomes true when the champion has moved


class Refused(RegistryError):
    """A version was refused, and nobody has insisted on it."""


def promote(registry: Registry, version: Version, expected_current: int | None, reason: str = "by hand") -> Version:
    """Make ``version`` the champion if the champion still is ``expected_current`` (None: there is none).

    It is no challenger any more, and remembers the champion before it for `roll_back`.

    Raises:
        AliasMoved: somebody else promoted meanwhile; nothing was changed.
    """
    finish_interrupted(registry, version.model)
    _intend(registry, version, "promoted", reason, champion=version.version)
    try:
        registry.set_alias(version.model, CHAMPION, version.version, expected_current)
        registry.drop_alias(version.model, CHALLENGER, version.version)
        judge(registry, version, "promoted", reason)
    finally:
        _forget(registry, version.model)
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
    finish_interrupted(registry, model)
    left = registry.get(Reference(model, CHAMPION, None))
    before = left.tags.get(aliases.PREVIOUS)
    if before is not None:
        _intend(registry, left, "rolled back", reason, champion=int(before))
    try:
        back = registry.rollback(model)
        judge(registry, left, "rolled back", reason)
    finally:
        _forget(registry, model)
    return left, back


def finish_interrupted(registry: Registry, model: str) -> None:
    """Say what somebody who was killed would have said of a champion that they had moved; called before each move."""
    (found,) = (summary for summary in registry.list_models(model) if summary.model == model)
    text = found.tags.get(INTENDED)
    if not text:
        return
    intended = json.loads(text)
    version = next((each for each in found.versions if each.version == intended["version"]), None)
    if version is not None and found.aliases.get(CHAMPION) == intended["champion"]:
        if intended["verdict"] == "promoted":
            registry.drop_alias(model, CHALLENGER, version.version)
        judge(registry, version, intended["verdict"], intended["reason"])
    _forget(registry, model)


def _forget(registry: Registry, model: str) -> None:
    registry.set_model_facts(model, {INTENDED: ""})


def _intend(registry: Registry, version: Version, verdict: Verdict, reason: str, champion: int) -> None:
    """Write down what is true of ``version`` as soon as ``champion`` is the champion."""
    document = {"version": version.version, "verdict": verdict, "reason": reason, "champion": champion}
    registry.set_model_facts(version.model, {INTENDED: json.dumps(document)})


def judge(registry: Registry, version: Version, verdict: Verdict, reason: str) -> None:
    """Write verdict and reason to the version and to its run; who sees the verdict finds the reason too."""
    tags = {"verdict_reason": reason, "verdict": verdict}
    registry.set_tags(version, tags)
    if version.run_id is not None:
        registry.set_run_tags(version.run_id, tags)


def check_verdict(version: Version, champion: Version | None, force: bool) -> str | None:
    """Whether a person may promote ``version``: what they ought to know of it, None where the gate let it pass.

    Args:
        champion: what serves, if anything does.
        force: they insist.

    Raises:
        Refused: it was refused, and nobody insists.
    """
    verdict, outcome = version.tags.get("verdict"), version.tags.get(GATE_OUTCOME)
    reason = version.tags.get("verdict_reason", "nobody said why")
    is_router = version.label.startswith("router@")
    if verdict == "refused" and not force:
        look = "polydraft router compare" if is_router else f"polydraft gate judge {version.label}"
        raise Refused(
            f"{version.label} was refused: {reason}", do=f"look again with {look}, or promote it all the same: --force"
        )
    if verdict in ("refused", "rolled back"):
        return f"{version.label} was {verdict}: {reason}"
    if verdict == "promoted" or is_router:
        return None
    against = version.tags.get(GATE_AGAINST)
    if outcome == "promoted" and (champion is None or against in (None, champion.label)):
        return None
    known = {"promoted": f"has passed the gate against {against} only", "undecided": f"waits at the gate: {reason}"}
    said = known.get(outcome or "", "has not been before the gate")
    return f"{version.label} {said}; look with polydraft gate judge {version.label}"


def chain(versions: dict[int, Version], champion: int | None) -> list[int]:
    """The champion and the versions that rollbacks would lead to, one after the other."""
    found: list[int] = []
    while champion is not None and champion not in found:
        found.append(champion)
        version = versions.get(champion)
        previous = version.tags.get(aliases.PREVIOUS, "") if version is not None else ""
        champion = int(previous) if previous.isdigit() else None
    return found
