"""A new router from prompts, measured beside the one that serves. Nothing is written but embeddings."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import CorpusError
from router.costs import CostTable, Prices
from router.encoder import Encoder
from router.held_out import HeldOut, write_held_out
from router.kinds import KINDS
from router.topic_router import TopicRouter
from router.training import RouterSettings, fit_router
from training.routing.gate import Side, Verdict, judge
from training.routing.measure import Answered, Measured, NoRouter, Routing, Sample, measure
from training.routing.prompts import RoutingPrompts

LEAST_COSTS = 50  # prompts with measured costs that a kind can learn from


@dataclass(frozen=True)
class Serving:
    """The router to beat.

    Attributes:
        label: ``router@v3``.
        encoder: its own, which may be another one than the candidate's.
        held_out: the prompts that it was measured on, if they were kept.
        accuracy: share of topics right when it was made.
    """

    label: str
    router: Routing
    encoder: Encoder
    held_out: HeldOut | None = None
    accuracy: float | None = None

    @classmethod
    def of(cls, label: str, router: TopicRouter, held_out: HeldOut | None) -> "Serving":
        """A router that was loaded."""
        return cls(label, router, router.encoder, held_out, router.figures.get("topic/accuracy"))


@dataclass(frozen=True)
class Trained:
    """A candidate, what it was made from, and how it compares.

    Attributes:
        router: with its figures on the held-out prompts.
        sample: the held-out prompts.
        serving: of the router to beat, on the same prompts; ``serving_label`` names it.
    """

    prompts: RoutingPrompts
    router: TopicRouter
    sample: Sample
    candidate: Measured
    serving: Measured
    serving_label: str
    verdict: Verdict

    def save(self, folder: Path) -> None:
        """Write the router and what it was measured on; the same training gives the same bytes."""
        self.router.save(folder)
        write_held_out(HeldOut(self.sample.embeddings, self.sample.groups, self.router.encoder.fingerprint), folder)


@dataclass(frozen=True)
class Labels:
    """Measured costs of answers, and the prices of the machine that they are weighed with."""

    table: CostTable
    prices: Prices

    def answered(self, texts: tuple[str, ...]) -> Answered | None:
        """What is known of the answers to ``texts``; None if that is nothing."""
        rows = {text: row for row, text in enumerate(self.table.texts)}
        places = np.array([rows.get(text, -1) for text in texts], dtype=np.int64)
        if not (places >= 0).any():
            return None
        costs = self.table.costs(self.prices)[places]
        costs[places < 0] = np.nan
        tokens = np.where(places >= 0, self.table.tokens[places], 0).astype(np.float64)
        return Answered(self.table.drafts, costs, tokens)


def retrain(
    prompts: RoutingPrompts,
    encoder: Encoder,
    serving: Serving | None,
    settings: RouterSettings | None = None,
    labels: Labels | None = None,
    kind: str = "",
    seed: int = 0,
    adjust: Callable[[TopicRouter], TopicRouter] = lambda router: router,
    told: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Fit on the training part, calibrate on the calibration part, and compare on the held-out part.

    Args:
        encoder: one with a cache: every text is asked for more than once.
        serving: None where nothing serves; the candidate must then beat what is so on the average.
        labels: measured costs; where they know held-out prompts, they decide which router is better.
        kind: one of `router.kinds`, fitted on the costs; "" goes by topic.
        seed: of the kind.
        adjust: what the deployment changes about a router, such as its least confidence.
        told: ``fit``, ``calibration`` and ``evaluation``, as each ends.
    """
    router = fit_router(prompts.training, encoder, settings or RouterSettings(), told)
    if kind:
        router = _by_cost(router, prompts, labels, kind, seed)
    texts, groups = held_out_of(prompts)
    sample = Sample(encoder.encode(texts), groups, texts, labels.answered(texts) if labels is not None else None)
    candidate = measure(adjust(router), sample)
    first = Serving("no router", NoRouter.of(groups), encoder)
    champion = serving or first
    seen = sample if champion.encoder.fingerprint == encoder.fingerprint else _seen_by(champion.encoder, sample)
    now = measure(champion.router, seen)
    before, after = _on_its_own(champion, adjust(router), encoder)
    verdict = judge(
        Side(champion.label, now, before, champion.accuracy), Side("the new router", candidate, after), sample
    )
    kept = dataclasses.replace(router, figures=candidate.figures())
    told("evaluation")
    return Trained(prompts, kept, sample, candidate, now, champion.label, verdict)


def _by_cost(router: TopicRouter, prompts: RoutingPrompts, labels: Labels | None, kind: str, seed: int) -> TopicRouter:
    """The same router with a kind that knows costs, fitted on all prompts with costs that are not held out.

    Raises:
        CorpusError: too few of them.
    """
    table = None if labels is None else labels.table
    rows = [] if table is None else [row for row, text in enumerate(table.texts) if prompts.may_learn(text)]
    if table is None or labels is None or len(rows) < LEAST_COSTS:
        what = f"{len(rows)} prompts to learn from have measured costs"
        raise CorpusError(what, do="polydraft router label --split train --output DIR, then --labels DIR")
    chosen = table.rows(rows)
    fitted = KINDS[kind].fit(router.encoder.encode(chosen.texts), chosen, labels.prices, seed)
    return dataclasses.replace(router, kind=fitted)


def held_out_of(prompts: RoutingPrompts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts and topics of the held-out part."""
    part = prompts.parts["held_out"]
    texts = tuple(text for found in part.values() for text in found)
    return texts, tuple(group for group, found in part.items() for _ in found)


def _seen_by(encoder: Encoder, sample: Sample) -> Sample:
    return dataclasses.replace(sample, embeddings=encoder.encode(sample.texts))


def _on_its_own(serving: Serving, candidate: Routing, encoder: Encoder) -> tuple[Measured | None, Measured | None]:
    """Both routers on the prompts that the serving one was measured on."""
    if serving.held_out is None or serving.held_out.fingerprint != encoder.fingerprint:
        return None, None
    sample = Sample.of(serving.held_out)
    return measure(serving.router, sample), measure(candidate, sample)
