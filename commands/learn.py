"""`polydraft learn`: drafts go on learning from what is served, in a process beside the server."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from configs.background import stand_back
from configs.console import EXIT_NO, hint
from configs.errors import ConfigError

if TYPE_CHECKING:
    from serving.config import Deployment
    from training.online.load import Throttle
    from training.online.subject import Setting, Subject


def learn(
    config: Annotated[Path | None, typer.Argument(help="Deployment file; without it, the starter.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Do what is due now; exit code 1 if nothing was promoted.")
    ] = False,
    server: Annotated[
        str | None, typer.Option(help="Whose load to mind; without it, the deployment's host and port.")
    ] = None,
) -> None:
    """Follow the traces, train drafts while load is low, promote what the gate lets pass, until stopped."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is imported
    from serving.config import deployment_of

    deployment = deployment_of(config)
    _check(deployment)
    stand_back()
    keep_off = _keeper_off()
    keep_off()
    import torch

    torch.set_num_threads(1)
    from training.online.follow import alone, follow
    from training.online.follow import once as do_once
    from training.online.load import HealthLoad, LoadMeter, Throttle

    meter = LoadMeter(HealthLoad(server or _url(deployment)))
    between = Throttle(meter, deployment.learning.max_utilisation, _stop_event(), hint)
    subjects, place = _subjects(deployment, between, hint)
    with alone(place):
        beside = {
            "other cores": keep_off,
            "shadow scoring": _shadow(deployment, between),
            "new topics": _lookout(config, between),
            "drift": _drift_watch(config, between),
        }
        if once:
            promoted = do_once(subjects)
            for work in beside.values():
                work()
        else:
            folder = deployment.traces.path(deployment.name)
            hint(f"Learning from {folder}, {len(subjects)} drafts; stop it with Ctrl-C, it goes on where it was")
            promoted = follow(subjects, between, beside=beside)
    hint(f"{promoted or 'No'} {'draft was' if promoted == 1 else 'drafts were'} promoted")
    raise typer.Exit(EXIT_NO if once and not promoted else 0)


def _check(deployment: "Deployment") -> None:
    if not deployment.learning.enabled:
        raise ConfigError(
            f"drafts of {deployment.name} may not learn", do="set learning.enabled and traces.enabled to true"
        )
    if not deployment.traces.enabled:
        raise ConfigError(
            f"{deployment.name} keeps no traces to learn from", do="set traces.enabled to true and serve it"
        )


def _keeper_off() -> Callable[[], None]:
    """Whatever is called when servers may have come or gone: this process leaves the cores of their step loops."""
    from serving.own_core import keep_off_claimed

    if not hasattr(os, "sched_getaffinity"):
        return lambda: None
    allowed = frozenset(os.sched_getaffinity(0))

    def keep_off() -> None:
        keep_off_claimed(allowed)

    return keep_off


def _url(deployment: "Deployment") -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(deployment.serving.host, deployment.serving.host)  # noqa: S104
    return f"http://{host}:{deployment.serving.port}"


def _stop_event() -> Event:
    """Set by the first SIGTERM or Ctrl-C; the second Ctrl-C does not wait for the step."""
    stop = Event()

    def ask(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop


def _subjects(
    deployment: "Deployment", between: "Throttle", say: Callable[[str], None]
) -> tuple[list["Subject"], Path]:
    """Every draft that an alias leads to, and the folder of their learner's state."""
    from drafts.pool import GENERAL
    from drafts.section import DraftSource
    from registry.names import CHAMPION, Reference
    from serving.deployment import REGISTRY_SCHEME, Resolver, open_registry
    from serving.plan import draft_sources
    from training.online.publish import Book
    from training.online.state import Desk
    from training.online.subject import Subject

    registry = open_registry(deployment)
    place = registry.location.state / "learning" / deployment.name
    setting = _setting(deployment, between, say)
    sources = draft_sources(deployment)
    if deployment.drafts.follow:
        further = Resolver(deployment).further_topics()
        sources |= {topic: DraftSource(model=reference) for topic, reference in further.items()}
    topics = {name: None if name == GENERAL else name for name in sources}  # of traces
    found = []
    for name, source in sources.items():
        reference = Reference.parse(source.model) if source.model.startswith(REGISTRY_SCHEME) else None
        if reference is None or reference.alias != CHAMPION:
            say(f"{name}: {source.model} is no champion of the registry; it stays as it is")
            continue
        book = Book(registry, deployment.name, name, reference.model)
        others = [topic for other, topic in topics.items() if other != name]
        found.append(Subject(setting, book, Desk(place / name), [topics[name]], others))
    if not found:
        raise ConfigError(
            f"no draft of {deployment.name} can learn", do="name drafts as registry://NAME@champion under drafts"
        )
    return found, place


def _lookout(config: Path | None, between: "Throttle") -> Callable[[], None]:
    """Looks for new topics among what the router rejects; nothing where there is no router."""
    from commands.topic_place import open_place
    from training.topics.lookout import Lookout

    place = open_place(config)
    if place.deployment.router is None:
        return lambda: None
    folder = place.traces(None)
    state = place.proposals.path.parent
    make = partial(place.scout, folder, None, state)
    return Lookout(folder, place.source.fingerprint, place.proposals, make, between)


def _drift_watch(config: Path | None, between: "Throttle") -> Callable[[], None]:
    """Looks for drift as `polydraft topics drift` does."""
    from commands.topic_place import open_place
    from drafts.pool import GENERAL
    from training.topics.drift import Drift
    from training.topics.lookout import DriftWatch
    from training.topics.sources import log_of

    place = open_place(config)
    folder, state = place.traces(None), place.proposals.path.parent

    def make() -> Drift:
        encoder = place.encoder(state / "embeddings")
        return Drift(log_of(place.source, folder), encoder, place.versions(), GENERAL, lambda _: between())

    every = place.deployment.learning.drift_every_requests
    return DriftWatch(folder, place.source.fingerprint, every, place.proposals, make, between)


def _shadow(deployment: "Deployment", between: "Throttle") -> Callable[[], None]:
    """Shadow scoring of the drafts that were not chosen; nothing where no share of the traces is wanted."""
    if not deployment.learning.shadow_share:
        return lambda: None
    from transformers import AutoTokenizer

    from decoding.checkpoint import fingerprint
    from serving.deployment import Resolver, open_registry
    from serving.followed import drafts_now
    from training.labels.questions import PromptText
    from training.labels.shadow import Shadow, Watch
    from training.online.trial import LENGTH

    target = Resolver(deployment).resolve(deployment.target.model, "target", deployment.target.revision).folder
    watch = Watch(
        log=deployment.traces.path(deployment.name),
        target=fingerprint(target),
        folder=open_registry(deployment).location.state / "labels" / deployment.name,
        drafts=partial(drafts_now, deployment),
        text_of=PromptText(AutoTokenizer.from_pretrained(target)),
        share=deployment.learning.shadow_share,
        length=deployment.decoding.num_draft_tokens or LENGTH,
        longest=deployment.target.max_length,
        between=between,
    )
    return Shadow(watch).cycle


def _setting(deployment: "Deployment", between: "Throttle", say: Callable[[str], None]) -> "Setting":
    from decoding.checkpoint import fingerprint
    from drafts.compatibility import tokenizer_fingerprint
    from serving.deployment import Resolver
    from training.online.log import Log
    from training.online.subject import Setting
    from training.online.trial import LENGTH

    target = Resolver(deployment).resolve(deployment.target.model, "target", deployment.target.revision).folder
    weights = fingerprint(target)
    return Setting(
        learning=deployment.learning,
        log=Log(deployment.traces.path(deployment.name), weights),
        tokenizer=target,
        tags={"target": weights, "tokenizer": tokenizer_fingerprint(target)},
        between=between,
        say=say,
        document=deployment.model_dump(mode="json"),
        length=deployment.decoding.num_draft_tokens or LENGTH,
    )
