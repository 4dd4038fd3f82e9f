"""`polydraft router hedge`: does changing the draft in mid-answer pay for scoring the others?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.results import Report, Row
from benchmarks.router_labels import Part, measure, parts_of, questions
from configs.errors import ConfigError
from decoding.costs import measure_costs
from decoding.load import load_draft, load_model
from decoding.native.build import cache_folder
from router.costs import Floats, Prices
from router.embedding_cache import CachedEncoder
from router.encoder import load_encoder
from router.hedge import HedgeRule, log_prior
from router.kinds import DEFAULT, KINDS
from serving.config import deployment_of
from serving.plan import Plan, make_plan
from training.labels.hedge import HedgeRuns, hedge_runs
from training.labels.prices import given_prices, measured_prices
from training.routing.bootstrap import paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CANDIDATES, _CHUNKS, _LOOKS = (2, 3, 7), (8, 16), (1, 2, 8)
ALONE = "router alone"


@dataclass(frozen=True)
class HedgeTrial:
    """What is measured.

    Attributes:
        source: file or folder of JSON lines with prompt, topic and split; None halves our own prompts.
        labels: folder of answers and replays, kept.
        kind: of router that predicts beforehand.
        c, w, row: cost of a draft step, of target runs over 1, 2, 3 .. rows, and of each further row of a draft's
            forward; measured where they are None.
    """

    source: Path | None
    labels: Path | None
    per_topic: int = 300
    held_out: int = 100
    tokens: int = 96
    kind: str = DEFAULT
    c: float | None = None
    w: Sequence[float] | None = None
    row: float | None = None


def run_hedge(config: Path | None, trial: HedgeTrial) -> Report:
    """Replay Hedge by several rules on held-out prompts, from what a router learned on others.

    Raises:
        ConfigError: no router, no drafts, no prompts, or no such kind.
    """
    torch.set_num_threads(1)
    if trial.kind not in KINDS:
        raise ConfigError(f"--kind {trial.kind} is unknown", do=f"use one of {', '.join(KINDS)}")
    plan = make_plan(deployment_of(config))
    if plan.router is None or not plan.drafts:
        raise ConfigError("this deployment has no router, or no drafts to choose from", do="give it both")
    encoder = load_encoder(plan.embedding, plan.router_max_tokens)
    cached = CachedEncoder(encoder, cache_folder().parent / "embeddings")
    lists = questions(trial.source, trial.per_topic, trial.held_out)
    labels = trial.labels or cache_folder().parent / "labels"
    whole = measure(plan, labels, trial.tokens, [each for some in lists for each in some], cached)
    train, held = parts_of(whole, lists)
    prices, row = _prices(plan, whole.table.longest, trial)
    kind = KINDS[trial.kind].fit(train.embeddings, train.table, prices, 0)
    length = max(1, held.table.best_lengths(prices)[0])
    rows = [_row(found, held) for found in _trials(held, kind.predict(held.embeddings), length, prices, row)]
    for found in rows:
        _compare(found, rows[0], held)
    payers = [each for each in rows[1:] if each["saved_low"] > 0]
    return Report(
        name="hedge",
        command=_command(trial),
        rows=[{key: value for key, value in each.items() if key != "by_prompt"} for each in rows],
        columns={
            "rule": lambda row: row["rule"],
            "runs/1000": lambda row: f"{row['runs_per_1000_tokens']:.1f}",
            "cost, scoring free": lambda row: f"{row['cost_per_token_free']:.4f}",
            "cost, scoring charged": lambda row: f"{row['cost_per_token']:.4f}",
            "saved": lambda row: f"{row['saved']:+.4f} ({row['saved_low']:+.4f} to {row['saved_high']:+.4f})",
            "changes": lambda row: f"{row['switches']:.2f}",
            "forwards": lambda row: f"{row['reads']:.2f}",
            "rows": lambda row: f"{row['rows']:.0f}",
        },
        draw=_draw,
        notes=[
            f"costs a token in plain target runs, {length} tokens a proposal; changes, forwards and rows a prompt",
            f"a look is a forward of each draft but the one that proposes: {np.mean(prices.draft):.3f}, and {row:.4f} "
            f"for each row but the first ({'as given' if trial.c is not None else 'measured here'}); the first look "
            "reads the prompt, too",
            f"{len(payers)} of {len(rows) - 1} rules pay for their scoring, by an interval above zero"
            + (": " + ", ".join(each["rule"] for each in payers) if payers else ""),
        ],
        facts={"kind": trial.kind, "c": list(prices.draft), "w": list(prices.width), "row": row},
    )


def _trials(
    held: Part, predicted: Floats, length: int, prices: Prices, row: float
) -> Iterator[tuple[str, list[HedgeRuns], Floats, Floats]]:
    """A rule's name, and for every prompt: counts, cost with scoring free, cost with scoring charged."""
    drafts = len(held.table.drafts)
    rules = {ALONE: HedgeRule(looks=0)}
    for candidates, chunk, looks in product(_CANDIDATES, _CHUNKS, _LOOKS):
        if candidates <= drafts:
            name = f"{candidates} drafts, {looks} looks, every {chunk} tokens"
            rules[name] = HedgeRule(candidates=candidates, chunk=chunk, looks=looks)
    for name, rule in rules.items():
        found = [
            hedge_runs([each[i] for each in held.acceptances], log_prior(costs, rule), length, rule, prompt)
            for i, (costs, prompt) in enumerate(zip(predicted, held.prompt_tokens, strict=True))
        ]
        free = np.array([each.cost(prices, length) for each in found])
        yield name, found, free, np.array([each.cost(prices, length, row) for each in found])


def _row(trial: tuple[str, list[HedgeRuns], Floats, Floats], held: Part) -> Row:
    name, found, free, charged = trial
    tokens = int(held.table.tokens.sum())
    return {
        "rule": name,
        "prompts": len(found),
        "runs_per_1000_tokens": float(1000 * sum(each.runs.sum() for each in found) / tokens),
        "cost_per_token_free": float(free.sum() / tokens),
        "cost_per_token": float(charged.sum() / tokens),
        **{key: float(np.mean([getattr(each, key) for each in found])) for key in ("switches", "reads", "rows")},
        "by_prompt": charged,
    }


def _compare(row: Row, alone: Row, held: Part) -> None:
    """What the rule saves a token over the router's choice kept to the end, scoring charged."""
    saved = paired(alone["by_prompt"], row["by_prompt"], held.table.tokens.astype(np.float64))
    row.update(saved=saved.mean, saved_low=saved.lower, saved_high=saved.upper)


def _prices(plan: Plan, longest: int, trial: HedgeTrial) -> tuple[Prices, float]:
    """Prices, and what a further row of a draft's forward costs."""
    if trial.c is not None and trial.w is not None and trial.row is not None:
        return given_prices(trial.c, trial.w, len(plan.drafts), longest), trial.row
    target = load_model(plan.target, 8, plan.max_length)
    models = {name: load_draft(spec.folder, 8, plan.max_length) for name, spec in plan.drafts.items()}
    costs, _ = measure_costs(target, next(iter(models.values())))
    widest = max(costs.draft)
    row = (costs.draft_step(widest) - costs.draft_step(1)) / max(1, widest - 1)
    return measured_prices(target, models, longest), max(0.0, row)


def _command(trial: HedgeTrial) -> str:
    words = ["polydraft router hedge", *([f"--data {trial.source.name}"] if trial.source else [])]
    options = {"per-topic": trial.per_topic, "held-out": trial.held_out, "tokens": trial.tokens, "kind": trial.kind}
    words += [f"--{name} {value}" for name, value in options.items()]
    if trial.c is not None and trial.w is not None:
        words.append(f"--c {trial.c:g} --w {','.join(f'{each:g}' for each in trial.w)} --row {trial.row:g}")
    return " ".join(words)


def _draw(rows: Sequence[Row]) -> "Figure":
    """Cost of every rule, with scoring free and charged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.3 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    axes.plot([row["cost_per_token_free"] for row in rows], places, "o", label="scoring free")
    axes.plot([row["cost_per_token"] for row in rows], places, "s", label="scoring charged")
    axes.axvline(rows[0]["cost_per_token"], color="grey", linewidth=0.8)
    axes.set_yticks(list(places), [row["rule"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("cost a token, plain decoding is 1")
    axes.legend()
    return figure
