"""Rows and documents about versions: plain dicts for JSON and tables alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from registry.aliases import SINCE
from registry.figures import by_position
from registry.names import CHAMPION, Reference
from registry.records import RunRecord
from registry.store import Registry
from registry.version import ModelSummary, Version

Document = dict[str, Any]


def list_rows(models: Sequence[ModelSummary]) -> list[Document]:
    """One row a model for ``polydraft registry list``; missing figures are None.

    ``since`` is when the champion became champion, in UTC. A model without versions is a registration that
    was broken off, and left out.
    """
    return [_row(model) for model in models if model.versions]


def list_lines(models: Sequence[ModelSummary]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of `list_rows` for people."""
    header = ["draft", "champion", "challenger", "alpha", "tokens/run", "since", "from", "made by"]
    return header, [_cells(row) for row in list_rows(models)]


def find_version(registry: Registry, prefix: str, label: str) -> tuple[ModelSummary, Version]:
    """The version that people call ``sql@v3``, or ``sql`` for its champion, and the model it belongs to.

    Raises:
        RegistryError: there is none; the nearest known name is in the message.
    """
    version = registry.get(Reference.parse(label if "@" in label else f"{label}@{CHAMPION}", prefix))
    model = next(model for model in registry.list_models(version.model) if model.model == version.model)
    return model, version


def show_document(model: ModelSummary, version: Version, run: RunRecord | None = None) -> Document:
    """Everything known about one version of ``model``, for ``polydraft registry show``; ``run`` made it."""
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
        "run_name": run.name if run else None,
        "data": run.data if run else {},
        "parent": _parent(version),
        **_figures(version),
        "tags": dict(sorted(version.tags.items())),
        "versions": [_line(other) for other in model.versions],
    }


def show_lines(document: Document) -> tuple[list[str], list[list[str]]]:
    """Header and lines of `show_document` for people: its facts, then the other versions of the model."""
    tags = document["tags"]
    facts = {
        "aliases": ", ".join(document["aliases"]),
        "description": document["description"],
        "verdict": ": ".join(tags[tag] for tag in ("verdict", "verdict_reason") if tag in tags),
        "alpha": document["alpha"],
        "tokens/run": document["tokens_per_target_run"],
        "by position": " ".join(map(str, document["acceptance_by_position"])),
        "from": document["parent"],
        "made by": ", ".join(tags[tag] for tag in ("job", "data_window") if tag in tags),
        "run": document["run_name"],
        "data": ", ".join(f"{name} {digest[:8]}" for name, digest in document["data"].items()),
        "target": tags.get("target", "")[:8],
        "tokenizer": tags.get("tokenizer", "")[:8],
        "registered": document["created"][:16],
        "folder": document["folder"],
    }
    others = [_other(line) for line in document["versions"] if line["version"] != f"v{document['version']}"]
    lines = [[name, str(value)] for name, value in facts.items() if value]
    return [document["label"], document["reference"]], [*lines, *([name, text] for name, text in others)]


def _other(line: Document) -> tuple[str, str]:
    alpha = f"alpha {line['alpha']}" if line["alpha"] is not None else ""
    parent = f"from {line['parent']}" if line["parent"] else ""
    return line["version"], ", ".join(
        part for part in (*line["aliases"], alpha, parent, line["made_by"], line["verdict"]) if part
    )


def _row(model: ModelSummary) -> Document:
    champion, challenger = model.champion, model.challenger
    return {
        "draft": model.name,
        "model": model.model,
        "champion": _number(champion),
        "challenger": _number(challenger) if challenger != champion else None,
        **_figures(champion),
        "since": _since(champion) if champion else None,
        "from": _parent(champion) if champion else None,
        "made_by": _maker(champion) if champion else None,
        "versions": len(model.versions),
    }


def _cells(row: Document) -> list[str]:
    figures = [
        f"{row[key]:.{digits}f}" if row[key] else "-" for key, digits in (("alpha", 3), ("tokens_per_target_run", 2))
    ]
    since = day(datetime.fromisoformat(row["since"]), datetime.now(UTC)) if row["since"] else "-"
    names = [str(row[key] or "-") for key in ("draft", "champion", "challenger")]
    return [*names, *figures, since, str(row["from"] or "-"), str(row["made_by"] or "-")]


def _since(champion: Version) -> str:
    return champion.tags.get(SINCE) or champion.created.isoformat(timespec="seconds")


def day(moment: datetime, now: datetime) -> str:
    """``today``, ``9 Mar``, or ``9 Mar 2025`` in another year."""
    if moment.date() == now.date():
        return "today"
    text = f"{moment.day} {moment:%b}"
    return text if moment.year == now.year else f"{text} {moment.year}"


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
