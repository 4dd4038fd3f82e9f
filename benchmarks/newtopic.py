"""`polydraft experiment newtopic`: a topic that nothing has learned is streamed at a server until it has a draft there.

Drafts and router are made without the late topic and served. Scattered foreign requests come first: they must raise
nothing. Then requests of the late topic come among those of others; the proposal is accepted beside the server, which
takes up draft and router by itself.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import torch

from benchmarks.newtopic_stage import NAME, SETTINGS, Stage, ask, ask_all
from benchmarks.pictures import BLUE, GREEN, GREY, INK, SKY, canvas
from benchmarks.results import Report, Row, yes_no
from drafts.pool import GENERAL
from registry.names import draft_model, router_model
from registry.store import Registry
from router.embedding_cache import CachedEncoder
from router.encoder import load_encoder
from router.prompts import FOREIGN
from router.proposal import Proposal, proposal_file
from router.topic_router import TopicRouter
from serving.client import running_server
from training.distillation.parent import Parent
from training.experiments.arms import train
from training.experiments.intervals import gain_interval
from training.experiments.material import Material
from training.experiments.scoring import score
from training.experiments.shapes import SHIPPED
from training.experiments.specialise import specialised
from training.labels.questions import PromptText
from training.topics.accepting import accept
from training.topics.changing import Changed, Workshop
from training.topics.proposals import Scout, is_due, num_unrouted
from training.topics.sources import Source, log_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATE = "medical"
LENGTH = 4  # tokens of a proposal in the figures
LOST = 0.005  # of tokens a run, which is what the gate of drafts tolerates, too
SOON, NEARLY = 300, 0.9  # the bars: requests until the proposal, and of the specialised draft's alpha
_FOREIGN_REQUESTS, _FOREIGN_TOKENS = 200, 8
_BLOCK = 20  # requests of the late topic between two looks
_WAIT_SECONDS = 60.0
_ROUTED = 4  # times as many prompts as alphas are of: few change their draft, so few say little

Told = Callable[[str], None]


@dataclass
class Seen:
    """What happened while the server ran."""

    false_proposals: int = 0
    requests: int | None = None  # of the late topic until the proposal
    proposal: Proposal | None = None
    changed: Changed | None = None
    seconds: float | None = None  # until the server took both up
    same: bool = False  # its answer is what the target alone says
    topics: dict[str, Any] = field(default_factory=dict)  # of /health


def run_newtopic(material: Material, command: str, told: Told, late: str = LATE) -> Report:
    """Stream, propose, accept, and measure what came of it."""
    encoder = CachedEncoder(load_encoder(), material.work / "embeddings")
    with tempfile.TemporaryDirectory(prefix="polydraft-") as folder:
        stage = Stage(material, Path(folder), late, told)
        registry = Registry.open(stage.deployment.registry)
        before = stage.register(registry, encoder)
        seen = Seen()
        with running_server(stage.deployment) as url:
            _play(stage, registry, encoder, url, seen)
        rows = _rows(stage, encoder, before, seen)
    return Report(
        name="experiment-newtopic",
        command=command,
        rows=rows,
        columns={
            "what": lambda row: row["what"],
            "found": lambda row: row["shown"],
            "bar": lambda row: row["bar"],
            "met": lambda row: "-" if row["met"] is None else yes_no(row["met"]),
        },
        draw=draw_newtopic,
        notes=[_meaning(stage)],
        facts={"late": stage.late, "proposal": seen.proposal.document() if seen.proposal else None},
    )


def _play(stage: Stage, registry: Registry, encoder: CachedEncoder, url: str, seen: Seen) -> None:
    material, deployment = stage.material, stage.deployment
    foreign = stage.prompts(FOREIGN, "validation")[:: max(1, len(stage.prompts(FOREIGN, "validation")) // 200)]
    source = Source(material.target, material.fingerprint, material.tokenizer)
    log = deployment.traces.path(NAME)

    def scout() -> Scout:
        version = registry.resolve(f"registry://{router_model(NAME)}@champion")
        router = TopicRouter.load(version.folder, encoder)
        known = encoder.encode(stage.known().foreign[: 2 * SETTINGS.max_per_topic])
        file = proposal_file(registry.location.state, NAME)
        text_of = PromptText(material.tokenizer)
        return Scout(log, material.fingerprint, text_of, router, encoder, file, known, stage.told)

    looking = scout()
    stage.told(f"{_FOREIGN_REQUESTS} scattered foreign requests")
    ask_all(url, foreign[:_FOREIGN_REQUESTS], _FOREIGN_TOKENS)
    _settle(looking)
    if is_due(log, material.fingerprint, looking.file):
        seen.false_proposals = len(looking.look())
    late = stage.prompts(stage.late, "train")[: SOON + _BLOCK]
    among = [prompt for topic in stage.others for prompt in stage.prompts(topic, "validation")[:60]]
    for start in range(0, SOON, _BLOCK):
        block = late[start : start + _BLOCK]
        stage.told(f"{start + len(block)} requests of the late topic")
        ask_all(url, [*block, *among[start : start + _BLOCK]], material.budget.answer_tokens)
        _settle(looking)
        if seen.proposal is None and is_due(log, material.fingerprint, looking.file) and (raised := looking.look()):
            seen.proposal, seen.requests = raised[0], start + len(block)
            seen.topics = httpx.get(f"{url}/health", timeout=30).json()["topics"]
    if seen.proposal is None:
        return
    workshop = Workshop(
        NAME, registry, material.target, material.budget.max_length, encoder, stage.place / "work", "", say=stage.told,
        settings=SETTINGS,
    )  # fmt: skip
    general = registry.resolve(f"registry://{draft_model(NAME, GENERAL)}@champion")
    parent = Parent(general.folder, general.label, general)
    seen.changed = accept(workshop, looking, seen.proposal, stage.late, parent, stage.known(), log_of(source, log))
    _await_taken_up(url, stage.late, late[SOON:], seen)


def _settle(scout: Scout, seconds: float = 10.0) -> None:
    """Until the log's open file is closed: the number of traces has stopped growing."""
    before, end = -1, time.monotonic() + seconds
    while (now := num_unrouted(scout.folder, scout.target)) != before and time.monotonic() < end:
        before = now
        time.sleep(2.2)  # two segments


def _await_taken_up(url: str, topic: str, prompts: Sequence[str], seen: Seen) -> None:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < _WAIT_SECONDS:
        for prompt in prompts:
            reply = ask(url, prompt, 32)
            if reply["polydraft"]["draft"] == f"{topic}@v1":
                seen.seconds = waited
                plain = ask(url, prompt, 32, "none")
                seen.same = reply["choices"][0]["message"] == plain["choices"][0]["message"]
                seen.topics = {**seen.topics, "added": httpx.get(f"{url}/health", timeout=30).json()["topics"]["added"]}
                return
        time.sleep(1.0)


def _rows(stage: Stage, encoder: CachedEncoder, before: TopicRouter, seen: Seen) -> list[Row]:
    material = stage.material
    found = "no proposal" if seen.requests is None else str(seen.requests)
    rows: list[Row] = [
        _row("proposals raised by scattered foreign requests", seen.false_proposals, str(seen.false_proposals), "0",
             seen.false_proposals == 0),
        _row("requests of the late topic until its proposal", seen.requests, found, f"at most {SOON}",
             seen.requests is not None),
    ]  # fmt: skip
    if seen.changed is None:
        return rows
    held_out = {0.0: material.held_out[0.0][stage.late]}
    draft = seen.changed.drafts[stage.late]
    best = specialised(SHIPPED, material.budget, material.budget.seeds[0], stage.late)
    arms = {
        "general draft": train(stage.pooled(), material),
        "new draft": draft.folder,
        "specialised draft": train(best, material),
    }
    alphas = {name: score(folder, held_out).alpha(0.0) for name, folder in arms.items()}
    rows += [_row(f"alpha of the {name}", value, f"{value:.3f}", "", None) for name, value in alphas.items()]
    share = alphas["new draft"] / alphas["specialised draft"]
    rows.append(_row("new over specialised", share, f"{share:.1%}", f"at least {NEARLY:.0%}", share >= NEARLY))
    after = TopicRouter.load(seen.changed.router.folder, encoder)
    gain, low, high = _others(stage, before, after, draft.folder)
    shown = f"{gain:+.2%} ({low:+.2%} to {high:+.2%})"
    rows += [
        _row("tokens a run of the other topics, after over before", gain, shown, f"interval above {-LOST:.1%}",
             low > -LOST),
        _row("seconds until the running server used draft and router", seen.seconds,
             "never" if seen.seconds is None else f"{seen.seconds:.0f}", "without a restart", seen.seconds is not None),
        _row("its answer is the target's own", seen.same, yes_no(seen.same), "yes", seen.same),
        _row("/health", seen.topics, _health(seen.topics), "", None),
    ]  # fmt: skip
    return rows


def _row(what: str, value: object, shown: str, bar: str, met: bool | None) -> Row:
    return {"what": what, "value": value, "shown": shown, "bar": bar, "met": met}


def _health(topics: dict[str, Any]) -> str:
    proposed = ", ".join(each["name"] for each in topics.get("proposed", []))
    return f"proposed {proposed or 'nothing'}, added {', '.join(topics.get('added', [])) or 'nothing'}"


def _others(stage: Stage, before: TopicRouter, after: TopicRouter, new: Path) -> tuple[float, float, float]:
    """Gain of the other topics in tokens a run, paired by held-out prompt: all that can change is who drafts."""
    material, text_of = stage.material, PromptText(stage.material.tokenizer)
    held_out = material.more_held_out(stage.others, _ROUTED * material.budget.held_out)
    names = [GENERAL, *stage.others, stage.late]
    folders = [train(stage.pooled(), material), *(train(stage.own(topic), material) for topic in stage.others), new]
    scores = [score(folder, {0.0: held_out}) for folder in folders]
    runs = torch.stack([each.runs(0.0, LENGTH) for each in scores])
    queries = [text_of(trace) for trace in held_out]
    both = []
    for router in (before, after):
        places = torch.tensor([names.index(each.draft) for each in router.decide_many(queries)])
        both.append(runs.gather(0, places[None]))
    return gain_interval(scores[0].tokens(0.0), both[1], both[0])


def _meaning(stage: Stage) -> str:
    budget = stage.material.budget
    return (
        f"{stage.late} is in no draft and no router at first. Its requests come to a running server, as many of other "
        f"topics between them, after {_FOREIGN_REQUESTS} scattered foreign ones; looks every {_BLOCK} of them. The new "
        f"draft goes on from the general one, on what was rejected. Specialised: {budget.text_tokens:,} tokens of "
        f"text, from a general draft that had seen it. Alpha: greedy answers to {budget.held_out} validation prompts; "
        f"of the other topics up to {_ROUTED * budget.held_out} each, k = {LENGTH}, by the draft that it is routed to."
    )


def draw_newtopic(rows: Sequence[Row]) -> "Figure":
    """Alpha of the three drafts on the late topic."""
    figure, (axes,) = canvas(1, width=5)
    bars = {row["what"].removeprefix("alpha of the "): row["value"] for row in rows if row["what"].startswith("alpha")}
    axes.bar(list(bars), list(bars.values()), color=(GREY, BLUE, GREEN)[: len(bars)])
    if "specialised draft" in bars:
        axes.axhline(NEARLY * bars["specialised draft"], color=INK, linewidth=0.8)
    axes.set_ylabel("alpha on the new topic")
    axes.set_facecolor("none")
    axes.grid(axis="y", color=SKY, linewidth=0.2)
    return figure
