"""Rows and documents about versions: plain dicts for JSON and tables alike."""

from collections.abc import Sequence
from typing import Any

from registry.figures import by_position
from registry.version import ModelSummary, Version

Document = dict[str, Any]


def list_rows(models: Sequence[ModelSummary]) -> list[Document]:
    """One row a model for ``polydraft registry list``; missing figures are None.

    ``since`` is when the champion was registered, in UTC.
    """
    return [_row(model) for model in models]


def show_document(model: ModelSummary, version: Version) -> Document:
    """Everything known about one version of ``model``, for ``polydraft registry show``."""
    return {
        "label": version.label,
        "model": version.model,
        "version": version.version,
        "reference": f"registry://{version.model}@v{version.version}",
        "aliases": list(version.aliases),
        "created": version.created.isoformat(),
        "description": version.description,
        "folder": str(version.folder),
        "run": version.run_id,
        "parent": _parent(version),
        **_figures(version),
        "tags": dict(sorted(version.tags.items())),
        "versions": [_line(other) for other in model.versions],
    }


def _row(model: ModelSummary) -> Document:
    champion, challenger = model.champion, model.challenger
    return {
        "draft": model.name,
        "model": model.model,
        "champion": _number(champion),
        "challenger": _number(challenger),
        **_figures(champion),
        "since": champion.created.isoformat() if champion else None,
        "from": _parent(champion) if champion else None,
        "made_by": _maker(champion) if champion else None,
        "versions": len(model.versions),
    }


def _line(version: Version) -> Document:
    return {
        "version": f"v{version.version}",
        "aliases": list(version.aliases),
        "created": version.created.isoformat(),
        "parent": _parent(version),
        "made_by": _maker(version),
        "verdict": version.tags.get("verdict"),
        **_figures(version),
    }


def _figures(version: Version | None) -> Document:
    if version is None:
        return {"alpha": None, "tokens_per_target_run": None, "acceptance_by_position": []}
    return {
        "alpha": version.figure("alpha"),
        "tokens_per_target_run": version.figure("tokens_per_target_run"),
        "acceptance_by_position": by_position(version.tags.get("acceptance_by_position", "")),
    }


def _number(version: Version | None) -> str | None:
    return None if version is None else f"v{version.version}"


def _parent(version: Version) -> str | None:
    number = version.tags.get("parent_version")
    return None if number is None else f"v{number.removeprefix('v')}"


def _maker(version: Version) -> str | None:
    parts = (version.tags.get("job"), version.tags.get("data_window"))
    return ", ".join(part for part in parts if part) or None
