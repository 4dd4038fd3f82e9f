"""The shipped starter becomes registered versions on first use.

``starter.json`` in the starter's folder names the parts::

    {"format": 1, "name": "starter", "topics": ["sql"], "target": "target", "router": "router",
     "drafts": {"general": "drafts/general", "sql": "drafts/sql"},
     "tags": {"sql": {"topic": "sql", "target": "...", "tokenizer": "...", "alpha": "0.88"}}}

The target is served from the folder itself. An import that was killed is completed by the next one:
a model is marked as imported last, and a version is registered only once its files are in place.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from configs.errors import RegistryError
from registry import leftovers
from registry.content import content_digest
from registry.describe import draft_description, router_description, version_description
from registry.experiments import experiment_name
from registry.figures import metrics_of
from registry.locks import exclusive
from registry.names import CHALLENGER, CHAMPION, model_of, router_model
from registry.store import Registry
from registry.version import ModelSummary, Version

CARD = "MODEL_CARD.md"
MARK = "starter"  # tag: the digest of the starter that a model or version was imported from


class Manifest(BaseModel):
    """What ``starter.json`` says; other keys are not for the registry."""

    format: Literal[1]
    name: str
    topics: list[str]
    target: str
    drafts: dict[str, str]
    router: str | None = None
    tags: dict[str, dict[str, str]] = {}


@dataclass(frozen=True)
class Part:
    """One draft or the router of a starter."""

    model: str
    short: str
    folder: Path
    content: str
    tags: dict[str, str]


def import_starter(registry: Registry, folder: Path, name: str = "starter") -> bool:
    """Register what the starter in ``folder`` holds as ``NAME-draft-TOPIC`` and ``NAME-router``.

    Nothing happens if this very starter was imported before. A newer one adds versions and moves
    ``champion``, except from a version that was learned here for the same target: that one stays and
    the newer one becomes ``challenger``.

    Returns:
        True if anything was imported.

    Raises:
        RegistryError: the folder is no starter, or the registry failed.
    """
    parts = read_starter(folder, name)
    digest = hashlib.sha256("".join(f"{part.model} {part.content}\n" for part in parts).encode()).hexdigest()
    digest = hashlib.sha256(digest.encode() + (folder / "starter.json").read_bytes()).hexdigest()
    if not _missing(registry, parts, digest, name):
        return False
    with exclusive(registry.location.state / "locks" / "starter.lock"):
        leftovers.collect(registry.client, registry.location)
        todo = _missing(registry, parts, digest, name)  # again: another process may have imported meanwhile
        known = {summary.model: summary for summary in registry.list_models(f"{name}-")} if todo else {}
        for part in todo:
            _import(registry, part, known.get(part.model), digest, name)
    return bool(todo)


def read_starter(folder: Path, name: str = "starter") -> list[Part]:
    """The parts of the starter in ``folder``, digests computed.

    Raises:
        RegistryError: there is no ``starter.json``, or it cannot be used.
    """
    file = folder / "starter.json"
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise RegistryError(
            f"{folder} holds no starter.json", do="name the starter folder of the repository"
        ) from error
    except ValidationError as error:
        facts = tuple(f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        raise RegistryError(
            f"{file} cannot be used", do="check out the repository's own starter folder", facts=facts
        ) from error
    places = dict(manifest.drafts)
    if manifest.router is not None:
        places["router"] = manifest.router
    return [_part(folder / place, short, name, manifest) for short, place in places.items()]


def _part(folder: Path, short: str, name: str, manifest: Manifest) -> Part:
    tags = dict(manifest.tags.get(short, {}))
    if short != "router":
        tags.setdefault("topic", short)
    return Part(model_of(name, short), short, folder, content_digest(folder), tags)


def _missing(registry: Registry, parts: list[Part], digest: str, name: str) -> list[Part]:
    tags = registry.model_tags(f"{name}-")
    return [part for part in parts if tags.get(part.model, {}).get(MARK) != digest]


def _import(registry: Registry, part: Part, summary: ModelSummary | None, digest: str, name: str) -> None:
    versions = summary.versions if summary is not None else ()
    champion = summary.champion if summary is not None else None
    alias = CHALLENGER if _stays(champion, part) else CHAMPION
    version = next((old for old in versions if old.tags.get("content") == part.content and MARK in old.tags), None)
    if version is None:
        version = _register(registry, part, {**part.tags, **_verdict(alias), MARK: digest}, name)
    else:
        registry.set_tags(version, {**part.tags, MARK: digest})
    if champion is None or champion.version != version.version:
        current = None if summary is None else summary.aliases.get(alias)
        registry.set_alias(part.model, alias, version.version, expected_current=current)
    registry.set_model_facts(part.model, {MARK: digest}, _description(part, name))


def _register(registry: Registry, part: Part, tags: dict[str, str], name: str) -> Version:
    alphas = [
        f"{part.tags[tag]} at temperature {at}" for tag, at in (("alpha", 0), ("alpha_t1", 1)) if tag in part.tags
    ]
    outcome = "As shipped with polydraft" + (f": alpha {', '.join(alphas)}" if alphas else "")
    made_for = f"for the target {part.tags['target'][:8]}" if "target" in part.tags else ""
    return registry.register(
        part.model,
        part.folder,
        {**tags, "job": "starter import"},
        metrics_of(part.tags),
        run_name=f"{part.short} from the starter",
        experiment=_experiment(part, name),
        description=version_description(outcome, made_for),
    )


def _verdict(alias: str) -> dict[str, str]:
    if alias == CHAMPION:
        return {"verdict": "promoted", "verdict_reason": "shipped with polydraft"}
    return {"verdict": "refused", "verdict_reason": "the champion was learned here, for the same target"}


def _stays(champion: Version | None, part: Part) -> bool:
    if champion is None or MARK in champion.tags:
        return False
    return champion.tags.get("target") == part.tags.get("target")


def _experiment(part: Part, name: str) -> str:
    return experiment_name(name, "router" if part.model == router_model(name) else "distill")


def _description(part: Part, name: str) -> str:
    if part.model == router_model(name):
        return router_description(name, _licence(part, ""))
    return draft_description(name, part.short, _licence(part, part.short))


def _licence(part: Part, topic: str) -> str:
    """The data behind a part, from the table of the starter's model card: lines of topic, source and licence."""
    card = next((place / CARD for place in part.folder.parents if (place / CARD).is_file()), None)
    lines = [] if card is None else [line.strip("| ").split(" | ") for line in card.read_text("utf-8").splitlines()]
    sources = [f"{cells[1]}: {cells[2]}" for cells in lines if len(cells) == 3 and cells[0] == topic]
    if not sources:
        return f"Data and licences: {CARD} of the starter."
    return f"Weights: Apache-2.0. Data, beside what the general draft learned from ({CARD}): {'; '.join(sources)}."
