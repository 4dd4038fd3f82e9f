"""From MLflow's entities to ours, and errors that name the nearest known thing."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.errors import RegistryError
from registry.fetch import Folders
from registry.names import Reference, nearest
from registry.version import ModelSummary, Version

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def version_entity(client: Any, reference: Reference) -> Any:
    """MLflow's entity of what ``reference`` means now, with its aliases.

    Raises:
        RegistryError: there is no such model, alias or version.
    """
    from mlflow.exceptions import MlflowException

    try:
        if reference.alias is not None:
            return client.get_model_version_by_alias(reference.model, reference.alias)
        return client.get_model_version(reference.model, str(reference.version))
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise
        raise _unknown(client, reference) from error


def model_summaries(client: Any, folders: Folders, prefix: str) -> list[ModelSummary]:
    """Every model whose name begins with ``prefix``, with its versions, newest first."""
    summaries = []
    for model in registered_models(client, prefix):
        aliases = {alias: int(number) for alias, number in model.aliases.items()}
        entities = _pages(client.search_model_versions, f"name = '{_quoted(model.name)}'")
        versions = [version_from(entity, folders.expected(entity), aliases) for entity in entities]
        versions.sort(key=lambda version: -version.version)
        summaries.append(ModelSummary(model.name, aliases, tuple(versions), dict(model.tags)))
    return summaries


def registered_models(client: Any, prefix: str = "") -> list[Any]:
    """MLflow's entities of every model whose name begins with ``prefix``, by name; one query."""
    models = [model for model in _pages(client.search_registered_models) if model.name.startswith(prefix)]
    return sorted(models, key=lambda model: str(model.name))


def version_from(entity: Any, folder: Path, aliases: dict[str, int] | None = None) -> Version:
    """Our version of MLflow's; a search leaves its aliases out, so the caller may give them."""
    number = int(entity.version)
    pointing = entity.aliases if aliases is None else [name for name, at in aliases.items() if at == number]
    return Version(
        model=entity.name,
        version=number,
        aliases=tuple(sorted(pointing)),
        folder=folder,
        tags=dict(entity.tags),
        run_id=entity.run_id or None,
        created=datetime.fromtimestamp(entity.creation_timestamp / 1000, UTC),
        description=entity.description or "",
    )


def _unknown(client: Any, reference: Reference) -> RegistryError:
    models = {model.name: model for model in registered_models(client)}
    if reference.model not in models:
        return RegistryError(f"the registry has no model {reference.model}", _instead(reference.model, models))
    model = models[reference.model]
    if reference.alias is not None:
        what = f"{reference.model} has no alias {reference.alias}"
        known = [f"{alias} (v{number})" for alias, number in sorted(model.aliases.items())]
        return RegistryError(what, f"use {' or '.join(known)}" if known else "promote a version of it first")
    entities = _pages(client.search_model_versions, f"name = '{_quoted(model.name)}'")
    numbers = sorted(int(entity.version) for entity in entities)
    close = min(numbers, key=lambda number: (abs(number - (reference.version or 0)), -number), default=None)
    what = f"{reference.model} has no version v{reference.version}"
    return RegistryError(what, f"use v{close}" if close is not None else "register a version of it first")


def _instead(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if close := nearest(name, names):
        return f"use {close}"
    return f"use one of {', '.join(names)}" if names else "it is empty: run polydraft demo, or register a draft"


def _pages(search: Any, condition: str | None = None) -> list[Any]:
    found = search(condition)
    results = list(found)
    while found.token:
        found = search(condition, page_token=found.token)
        results.extend(found)
    return results


def _quoted(name: str) -> str:
    return name.replace("'", "''")
