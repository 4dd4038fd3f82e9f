"""`polydraft bench router`: every kind of router on one table of replayed costs, and the regret of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.regret import Outcome, difference, figures
from benchmarks.results import Report, Row, command_line
from benchmarks.router_labels import Part, groups_of, measure, misleading, parts_of, prices_of, questions
from benchmarks.router_quality import quality, quality_notes
from benchmarks.router_table import COLUMNS, draw_router
from configs.errors import ConfigError
from decoding.native.build import cache_folder
from router.costs import CostTable, Floats
from router.decision import RoutingDecision
from router.embedding_cache import CachedEncoder
from router.encoder import Encoder, load_encoder
from router.hedge import HedgeRule, log_prior
from router.kinds import KINDS, ExpectedKind, RouterKind
from router.kinds.menu import Choices, Menu
from router.kinds.references import always_general, oracle, topic_label
from router.prompts import FOREIGN
from router.topic_router import TopicRouter
from serving.config import deployment_of
from serving.plan import make_plan
from training.labels.hedge import hedge_runs
from training.labels.questions import Question, read_questions
from training.routing.measure import measured

DEPLOYED, HEDGE, LABEL = "deployed", "hedge", "topic label"
MISLED = "misleading"
_SEED = 0
_MOST_EMBEDDED = 1000  # held-out prompts of a topic
_LEAST_SHARE = 0.98  # of the oracle's mean acceptance length


@dataclass(frozen=True)
class RouterTrial:
    """What is measured.

    Attributes:
        source: file or folder of JSON lines with prompt, topic and split; None halves our own prompts.
        labels: folder of answers and replays, kept; None is one in the user's cache.
        per_topic: prompts of a topic to learn from.
        held_out: validation prompts of a topic.
        tokens: longest answer.
        c, w: cost of a draft step, and of target runs over 1, 2, 3 .. rows; measured where they are None.
    """

    source: Path | None = None
    labels: Path | None = None
    per_topic: int = 300
    held_out: int = 130
    tokens: int = 128
    c: float | None = None
    w: tuple[float, ...] | None = None


def run_router(config: Path | None, trial: RouterTrial) -> Report:
    """Fit every kind on what drafts cost on some prompts, and count its regret on others.

    Raises:
        ConfigError: no router, no drafts, or no prompts.
    """
    torch.set_num_threads(1)
    plan = make_plan(deployment_of(config))
    if plan.router is None or not plan.drafts:
        raise ConfigError("this deployment has no router, or no drafts to choose from", do="give it both")
    encoder = load_encoder(plan.embedding, plan.router_max_tokens)
    cached = CachedEncoder(encoder, cache_folder().parent / "embeddings")
    lists = [*questions(trial.source, trial.per_topic, trial.held_out), misleading(plan)]
    labels = trial.labels or cache_folder().parent / "labels"
    whole = measure(plan, labels, trial.tokens, [each for some in lists for each in some], cached)
    prices = prices_of(plan, whole.table.longest, trial.c, trial.w)
    train, held, misled = parts_of(whole, lists)
    fitted = {name: kind.fit(train.embeddings, train.table, prices, _SEED) for name, kind in KINDS.items()}
    router = TopicRouter.load(plan.router, encoder)
    if plan.min_confidence is not None:
        router = router.with_min_confidence(plan.min_confidence)
    outcomes = [outcomes_of(part, fitted, router) for part in (held, misled)]
    groups = groups_of(held, tuple(plan.drafts))
    selected = {name: (_some(outcomes[0], index), held.table.rows(index)) for name, index in groups.items()}
    selected[MISLED] = outcomes[1], misled.table
    menu = next(iter(fitted.values())).menu
    known = _known(router, trial.source, lists[1], cached)
    notes, facts = verdict(*selected["all"])
    notes += quality_notes(DEPLOYED, known)
    given = "measured here" if trial.c is None else "as given"
    notes += [
        f"{len(train.table)} prompts for the kinds to learn from (deployed has its own); "
        f"{int(groups['all'].sum())} held out of topics with a draft, "
        f"{len(misled.table)} misleading ones of our own; greedy answers of up to {trial.tokens} tokens",
        f"c {prices.draft[0]:.3f}, w({len(prices.width)}) {prices.width[-1]:.2f} {given}; ± is half a 95 % bootstrap "
        f"interval over prompts; drafts may have learned from the train prompts, which flatters each on its own topic",
    ]
    return Report(
        name="router",
        command=_command(config, trial),
        rows=[_row(name, selected) | (known if name == DEPLOYED else {}) for name in outcomes[0]],
        columns=COLUMNS,
        draw=draw_router,
        notes=notes,
        facts={
            **facts,
            "c": list(prices.draft),
            "w": list(prices.width),
            "lengths": dict(zip(menu.drafts, menu.lengths, strict=True)),
            "versions": list(train.table.versions),
            "train_prompts": len(train.table),
        },
    )


def _known(router: TopicRouter, source: Path | None, own: Sequence[Question], encoder: Encoder) -> Row:
    """Calibration and scope on more held-out prompts than are answered: embedding them costs little."""
    asked = own if source is None else read_questions(source, "validation", _MOST_EMBEDDED)
    groups = [each.group for each in asked]
    decisions = router.decide_embedded(encoder.encode([each.text for each in asked]))
    return quality(measured(tuple(decisions), router.topics, groups), groups)


def outcomes_of(part: Part, fitted: Mapping[str, RouterKind], router: TopicRouter) -> dict[str, Outcome]:
    """What the prompts come to under every router, best known to least."""
    menu = next(iter(fitted.values())).menu
    decisions = router.decide_embedded(part.embeddings)
    by_cost = fitted[ExpectedKind.name]
    assert isinstance(by_cost, ExpectedKind)
    chosen: dict[str, Choices] = {
        "oracle": oracle(menu, part.table),
        LABEL: topic_label(menu, part.table),
        DEPLOYED: _chosen(menu, decisions),
        **{name: kind.choose(part.embeddings) for name, kind in fitted.items()},
    }
    found = {name: Outcome.of(menu, part.table, choices) for name, choices in chosen.items()}
    found[HEDGE] = _hedged(menu, part, _predicted(decisions, by_cost))
    found["general"] = Outcome.of(menu, part.table, always_general(menu, part.table))
    found["random"] = Outcome.thrown(menu, part.table)
    return found


def _chosen(menu: Menu, decisions: Sequence[RoutingDecision]) -> Choices:
    return menu.of_groups(tuple(decision.draft for decision in decisions))


def _predicted(decisions: Sequence[RoutingDecision], kind: ExpectedKind) -> Floats:
    """Cost a token of each draft by the deployed router's probabilities, gate included, float64 [n, d].

    Topics that ``kind`` has no costs of count as the mean over those that it has.
    """
    costs, tokens = kind.class_costs.astype(np.float64), kind.class_tokens.astype(np.float64)
    classes = {name: (tokens[row], costs[row]) for row, name in enumerate(kind.classifier.topics)}
    unknown = float(tokens.mean()), tokens @ costs / tokens.sum()
    found = []
    for decision in decisions:
        shares = [(topic, share * decision.in_scope) for topic, share in decision.alternatives]
        seen = [(share, *classes.get(name, unknown)) for name, share in [*shares, (FOREIGN, 1 - decision.in_scope)]]
        whole = sum(share * length for share, length, _ in seen)
        found.append(sum(share * length * each for share, length, each in seen) / whole)
    return np.array(found)


def _hedged(menu: Menu, part: Part, predicted: Floats) -> Outcome:
    """Hedge inside the request from a prediction; a look is charged a draft step a draft, its rows nothing."""
    rule = HedgeRule()
    found = []
    for row, costs in enumerate(predicted):
        prior = log_prior(costs, rule)
        length = menu.lengths[int(prior.argmax())]
        accepted = [each[row] for each in part.acceptances]
        found.append((hedge_runs(accepted, prior, length, rule, part.prompt_tokens[row]), length))
    costs = np.array([each.cost(menu.prices, length, row=0.0) for each, length in found])
    return Outcome(costs, np.array([each.runs.sum() for each, _ in found]), np.full(len(found), np.nan))


def verdict(outcomes: Mapping[str, Outcome], table: CostTable) -> tuple[list[str], dict[str, Any]]:
    """Is the oracle near, is the router that serves the best one, and does it beat names of topics? Words and figures.

    A kind takes the default's place only if its interval says that it is cheaper.
    """
    tokens = table.tokens.astype(np.float64)
    found = {name: figures(name, outcomes, tokens) for name in outcomes}
    servable = [DEPLOYED, *KINDS, HEDGE]
    lowest = min(servable, key=lambda name: found[name]["regret"])
    over_lowest = difference(outcomes[DEPLOYED], outcomes[lowest], tokens)
    over_label = difference(outcomes[DEPLOYED], outcomes[LABEL], tokens)
    share = found[DEPLOYED]["share_of_oracle"]
    notes = [
        f"deployed: {share:.1%} of the oracle's acceptance length ({found[DEPLOYED]['share_of_oracle_low']:.1%} to "
        f"{found[DEPLOYED]['share_of_oracle_high']:.1%}), "
        f"{'at least' if share >= _LEAST_SHARE else 'LESS THAN'} {_LEAST_SHARE:.0%}",
        _compared("lowest regret: " + lowest, over_lowest, "deployed costs", lowest != DEPLOYED),
        _compared("against topic labels", over_label, "deployed costs", True),
    ]
    facts = {
        "lowest_regret": lowest,
        "deployed_over_lowest": over_lowest,
        "deployed_over_topic_label": over_label,
        "oracle_share_reached": share >= _LEAST_SHARE,
        "beats_topic_label": over_label[2] < 0,
    }
    return notes, facts


def _compared(head: str, found: tuple[float, float, float], who: str, differs: bool) -> str:
    if not differs:
        return f"{head}, the router that serves"
    mean, low, high = found
    sure = "a difference" if low > 0 or high < 0 else "NO difference shown"
    return f"{head}: {who} {mean:+.1f} target runs a thousand tokens ({low:+.1f} to {high:+.1f}): {sure}"


def _some(outcomes: Mapping[str, Outcome], index: Any) -> dict[str, Outcome]:
    return {name: outcome.rows(index) for name, outcome in outcomes.items()}


def _row(name: str, selected: Mapping[str, tuple[Mapping[str, Outcome], CostTable]]) -> Row:
    by_group = {
        group: {
            "prompts": len(table),
            "tokens": int(table.tokens.sum()),
            **figures(name, outcomes, table.tokens.astype(np.float64)),
        }
        for group, (outcomes, table) in selected.items()
    }
    return {"router": name, **by_group["all"], "by_group": by_group}


def _command(config: Path | None, trial: RouterTrial) -> str:
    return command_line(
        "router",
        prompts=trial.source,
        labels=trial.labels,
        per_topic=trial.per_topic,
        held_out=trial.held_out,
        tokens=trial.tokens,
        c=trial.c,
        w=trial.w,
        config=config,
    )
