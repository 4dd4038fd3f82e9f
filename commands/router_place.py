"""A deployment, its router's registry and its embeddings, as `polydraft router` needs them; and shared options."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from configs.console import hint
from configs.errors import ConfigError

if TYPE_CHECKING:
    from router.embedding_cache import CachedEncoder
    from router.topic_router import TopicRouter
    from serving.config import Deployment
    from training.routing.measure import Sample
    from training.routing.prompts import Labelled
    from training.routing.publish import Book
    from training.routing.retrain import Labels, Serving

Data = Annotated[Path | None, typer.Option(help="JSON lines with prompt, topic and maybe split, or a folder of them.")]
Traces = Annotated[Path | None, typer.Option(help="Folder of recorded traffic; its prompts are used, too.")]
Costs = Annotated[
    list[Path] | None, typer.Option("--labels", help="Folder that `router label` has filled; can be repeated.")
]
PerTopic = Annotated[int, typer.Option(min=64, help="Prompts of a topic, at most; twice as many of no topic.")]
Cache = Annotated[Path | None, typer.Option(help="Where embeddings are kept; without it, beside the registry.")]
Step = Annotated[float | None, typer.Option("--c", help="Cost of a draft step in target runs; else measured.")]
Width = Annotated[str | None, typer.Option("--w", help="Cost of target runs over 1, 2, 3, ... rows; else measured.")]
MOST_PER_TOPIC = 3000
_SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """A deployment as these commands need it."""

    deployment: "Deployment"
    book: "Book"
    encoder: "CachedEncoder"
    cache: Path

    @property
    def config(self) -> dict[str, object]:
        """The resolved deployment file, for the record."""
        return self.deployment.model_dump(mode="json")

    @property
    def target(self) -> Path:
        from serving.deployment import Resolver

        target = self.deployment.target
        return Resolver(self.deployment).resolve(target.model, "target", target.revision).folder

    def adjust(self, router: "TopicRouter") -> "TopicRouter":
        """The router as this deployment serves it."""
        section = self.deployment.router
        least = None if section is None else section.min_confidence
        return router if least is None else router.with_min_confidence(least)

    def serving(self, label: str) -> "Serving":
        """A version, by its label."""
        from router.topic_router import TopicRouter
        from training.routing.versions import find, load_version

        found = load_version(find(self.book, label), self.encoder, self.cache)
        assert isinstance(found.router, TopicRouter)
        return replace(found, router=self.adjust(found.router))


def open_place(config: Path | None, cache: Path | None) -> Place:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from router.embedding_cache import CachedEncoder
    from router.encoder import load_encoder
    from router.section import RouterSection
    from serving.config import deployment_of
    from serving.deployment import open_registry
    from training.routing.publish import Book

    deployment = deployment_of(config)
    section = deployment.router or RouterSection()
    registry = open_registry(deployment)
    folder = cache or registry.location.state / "embeddings"
    encoder = CachedEncoder(load_encoder(section.embedding, section.max_tokens), folder, _progress(folder))
    return Place(deployment, Book(registry, deployment.name), encoder, folder)


def read_labels(place: Place, folders: list[Path] | None, c: float | None, w: str | None) -> "Labels | None":
    """Tables of costs and the prices to weigh them with: given, or measured on this machine.

    Raises:
        ConfigError: only one of ``c`` and ``w`` is given, or the deployment lacks a draft of the tables.
        RouterError: a table is missing or damaged.
    """
    if not folders:
        return None
    from commands.replay import rising
    from router.costs import CostTable, merge
    from training.labels.prices import given_prices, measured_prices
    from training.routing.retrain import Labels

    if (c is None) != (w is None):
        raise ConfigError("--c and --w go together", do="pass both, or measure both")
    found = merge([CostTable.load(folder) for folder in folders])
    if c is not None and w is not None:
        return Labels(found, given_prices(c, rising(w), len(found.drafts), found.longest))
    from decoding.load import load_draft, load_model
    from serving.deployment import Resolver
    from serving.plan import draft_sources

    sources, resolver = draft_sources(place.deployment), Resolver(place.deployment)
    missing = [name for name in found.drafts if name not in sources]
    if missing:
        raise ConfigError(f"{place.deployment.name} has no draft {missing[0]}, which was labelled", do="label again")
    length = place.deployment.target.max_length
    folders_of = {name: resolver.resolve(sources[name].model, name).folder for name in found.drafts}
    drafts = {name: load_draft(folder, 8, length) for name, folder in folders_of.items()}
    return Labels(found, measured_prices(load_model(place.target, 8, length), drafts, found.longest))


def read_records(place: Place, traces: Path | None, data: Path | None, labels: "Labels | None") -> "list[Labelled]":
    """Labelled prompts of all that was given; of the deployment's own traces where nothing was."""
    from decoding.checkpoint import fingerprint
    from training.routing.prompts import Labelled, read_labelled
    from training.routing.traces import traced_prompts

    found: list[Labelled] = []
    if data is not None:
        found += read_labelled(data)
    if traces is None and data is None and labels is not None:
        table = labels.table
        found += [Labelled(text, group) for text, group in zip(table.texts, table.groups, strict=True) if group]
    if traces is not None or (data is None and labels is None):
        folder = traces or place.deployment.traces.path(place.deployment.name)
        if not folder.is_dir():
            raise ConfigError(
                f"no folder {folder} of traces", do="serve with traces.enabled: true, or pass --data FILE"
            )
        found += traced_prompts(folder, place.target, fingerprint(place.target), labels)
    return found


def held_out_sample(
    place: Place, data: Path | None, per_topic: int, labels: "Labels | None", *routers: "Serving"
) -> "Sample":
    """The held-out prompts of ``data`` or, without it, those that one of ``routers`` was measured on."""
    from training.routing.measure import Sample
    from training.routing.prompts import read_labelled, split_prompts
    from training.routing.retrain import held_out_of
    from training.routing.versions import own_sample

    if data is None:
        if labels is not None:
            raise ConfigError("costs are known of prompts, and --data names none", do="pass --data FILE as well")
        return own_sample(*routers)
    prompts = split_prompts(read_labelled(data), per_topic=per_topic, needed=("held_out",))
    texts, groups = held_out_of(prompts)
    return Sample(place.encoder.encode(texts), groups, texts, None if labels is None else labels.answered(texts))


def _progress(folder: Path) -> Callable[[int, int], None]:
    said = {"at": monotonic()}

    def told(done: int, of: int) -> None:
        if monotonic() - said["at"] > _SAY_SECONDS:
            said["at"] = monotonic()
            hint(f"embedded {done:,} of {of:,} texts; kept in {folder}, run again to resume")

    return told
