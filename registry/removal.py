"""Which versions nobody will ask for again, and how they go: first out of sight, then their files."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from registry import aliases, leftovers
from registry.connection import answering
from registry.locks import exclusive
from registry.lookup import model_summaries
from registry.names import CHAMPION
from registry.store import Registry
from registry.verdicts import chain
from registry.version import ModelSummary, Version

YOUNGEST = timedelta(hours=1)  # a job may be about to point an alias to it


@dataclass(frozen=True)
class Rule:
    """Versions that stay: the ``keep`` newest of each model, and all younger than ``days``.

    Whatever the rule says, a version stays that has an alias, that a rollback may lead to, that a deployment
    names by number (``pinned``: pairs of model and version), or that is younger than an hour.
    """

    keep: int = 5
    days: float = 0.0
    pinned: frozenset[tuple[str, int]] = frozenset()


def removable(model: ModelSummary, rule: Rule, now: datetime) -> list[Version]:
    """The versions of ``model`` that may go, newest first."""
    by_number = {version.version: version for version in model.versions}
    stay = {*model.aliases.values(), *chain(by_number, model.aliases.get(CHAMPION))}
    age = max(YOUNGEST, timedelta(days=rule.days))
    return [
        version
        for version in model.versions[rule.keep :]
        if version.version not in stay
        and not version.aliases
        and (model.model, version.version) not in rule.pinned
        and now - version.created >= age
    ]


def candidates(models: Sequence[ModelSummary], rule: Rule) -> list[Version]:
    """The versions of all ``models`` that may go."""
    now = datetime.now(UTC)
    return [version for model in models for version in removable(model, rule, now)]


def remove(registry: Registry, models: Collection[str], rule: Rule) -> list[Version]:
    """Remove what may go of each model, looking again under the lock under which aliases move; free the files.

    Killed in between, versions are gone or there, and the next call frees the files of those that are gone.
    """
    gone: list[Version] = []
    for model in sorted(models):
        with exclusive(aliases.lock_file(registry.location, model)), answering(registry.location):
            for summary in model_summaries(registry.client, registry.folders, model):
                if summary.model == model:
                    for version in removable(summary, rule, datetime.now(UTC)):
                        registry.client.delete_model_version(model, str(version.version))
                        gone.append(version)
                        if registry.location.is_server:
                            shutil.rmtree(version.folder, ignore_errors=True)  # a download, nobody's original
    leftovers.collect_files(registry.client, registry.location)
    return gone


def rows_of(versions: Sequence[Version]) -> list[dict[str, Any]]:
    """For ``polydraft registry gc``: label, model, number, time of registration, bytes on this machine."""
    return [
        {
            "label": version.label,
            "model": version.model,
            "version": version.version,
            "created": version.created.isoformat(),
            "bytes": sum(file.stat().st_size for file in version.folder.rglob("*") if file.is_file()),
        }
        for version in versions
    ]
