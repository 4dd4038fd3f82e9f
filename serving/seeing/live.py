"""`/live.json`: what the dashboard draws, of one range of time."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from drafts.pool import GENERAL
from serving.seeing.history import RANGES, Counts, Span
from serving.seeing.labels import NO_TOPIC, split_label
from serving.seeing.regret_file import TopicRegret
from serving.seeing.tally import quantile
from serving.seeing.watch import Watch

_LEAST_POINTS = 10
_PER = 1000  # tokens that regret is told of

Spans = list[tuple[int, Span | None]]
Shadow = Mapping[tuple[str, str], float]


def live_document(
    watch: Watch, range_name: str, shadow: Shadow, regret: Mapping[str, TopicRegret], aliases: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that happened in a range, and what serves now; ratios of counts that were summed first."""
    now, uptime = watch.now()
    ring = watch.history.rings[range_name]
    since = now - max(uptime, _LEAST_POINTS * ring.width)  # an empty chart of what was before says nothing
    spans = [(at, span) for at, span in ring.spans(now) if at + ring.width > since]
    met = [span for _, span in spans if span is not None]
    whole = _sum(met)
    seconds = max(1.0, min(ring.seconds, uptime))
    return {
        "at": round(now, 3),
        "range": {"name": range_name, "seconds": RANGES[range_name], "width": ring.width},
        "times": [at for at, _ in spans],
        "drafts": [
            {"name": name, "version": split_label(label)[1], "alias": aliases.get(name, "")}
            for name, label in watch.drafts.items()
        ],
        "costs": {"draft_step": watch.costs[0], "target_run_5": watch.costs[1]} if watch.costs else None,
        "figures": _figures(met, whole, seconds),
        "load": _load(watch, spans, ring.width),
        "audit": asdict(audit) if (audit := watch.status.audit if watch.status is not None else None) else None,
        "topics": _topics(watch, spans, whole, shadow),
        "matrix": _matrix(watch, whole, shadow, regret),
        "changes": [asdict(change) for change in reversed(watch.changes)],
    }


def _sum(spans: list[Span]) -> dict[tuple[str, str], Counts]:
    whole: dict[tuple[str, str], Counts] = {}
    for span in spans:
        for key, counts in span.cells.items():
            whole.setdefault(key, Counts()).add(counts)
    return whole


def _total(whole: Mapping[tuple[str, str], Counts], wanted: Callable[[str, str], bool]) -> Counts:
    total = Counts()
    for (topic, draft), counts in whole.items():
        if wanted(topic, draft):
            total.add(counts)
    return total


def _figures(met: list[Span], whole: Mapping[tuple[str, str], Counts], seconds: float) -> dict[str, Any]:
    total = _total(whole, lambda _topic, _draft: True)
    first, gap = [span.first_token for span in met], [span.gap for span in met]
    return {
        "answers": total.answers,
        "tokens": total.tokens,
        "tokens_per_second": round(total.tokens / seconds, 2),
        "tokens_per_run": _rounded(total.tokens_per_run),
        "mean_acceptance_length": _rounded(1 + total.accepted / total.drafts if total.drafts else None),
        "first_token": {"p50": _rounded(quantile(first, 0.5)), "p99": _rounded(quantile(first, 0.99))},
        "gap": {"p50": _rounded(quantile(gap, 0.5)), "p99": _rounded(quantile(gap, 0.99))},
    }


def _load(watch: Watch, spans: Spans, width: int) -> dict[str, Any]:
    load = watch.status.load if watch.status is not None else None
    return {
        "running": load.running if load else 0,
        "waiting": load.waiting if load else 0,
        "slots": watch.slots,
        "series": {
            "running": [span.running if span else 0 for _, span in spans],
            "waiting": [span.waiting if span else 0 for _, span in spans],
            "busy": [round(min(1.0, span.step_seconds / width), 4) if span else 0 for _, span in spans],
        },
    }


def _topics(
    watch: Watch, spans: Spans, whole: Mapping[tuple[str, str], Counts], shadow: Shadow
) -> list[dict[str, Any]]:
    """Topics that have a draft, served or not, then those that were only met."""
    met = {topic for topic, _ in whole if topic != NO_TOPIC}
    names = [name for name in watch.drafts if name != GENERAL]
    answers = sum(counts.answers for counts in whole.values())
    found = []
    for topic in [*names, *sorted(met - set(names))]:
        total = _total(whole, lambda other, _draft, topic=topic: other == topic)  # type: ignore[misc]
        general = whole.get((topic, GENERAL), Counts()).tokens_per_run or shadow.get((topic, GENERAL))
        found.append(
            {
                "topic": topic,
                "version": split_label(watch.drafts.get(topic, ""))[1],
                "answers": total.answers,
                "share": round(total.answers / answers, 4) if answers else None,
                "tokens_per_run": _rounded(total.tokens_per_run),
                "mean_acceptance_length": _rounded(1 + total.accepted / total.drafts if total.drafts else None),
                "series": [_rounded(_of_topic(span, topic)) for _, span in spans],
                "general": _rounded(general),
                "marks": [
                    {"at": change.at, "version": change.version, "before": change.before}
                    for change in watch.changes
                    if change.draft == topic and change.what != "refused" and change.at >= spans[0][0]
                ],
            }
        )
    return found


def _of_topic(span: Span | None, topic: str) -> float | None:
    if span is None:
        return None
    total = _total(span.cells, lambda other, _draft: other == topic)
    return total.tokens_per_run


def _matrix(
    watch: Watch, whole: Mapping[tuple[str, str], Counts], shadow: Shadow, regret: Mapping[str, TopicRegret]
) -> dict[str, Any]:
    """Tokens a target run and answers by topic and draft; where a draft was not tried, what it would have done."""
    met = {draft for _, draft in whole}
    drafts = [*watch.drafts, *sorted(met - set(watch.drafts))]
    names = [name for name in watch.drafts if name != GENERAL]
    topics = [*names, *sorted({topic for topic, _ in whole} - set(names))]
    rows = []
    for topic in topics:
        cells = []
        for draft in drafts:
            counts = whole.get((topic, draft), Counts())
            live, scored = counts.tokens_per_run, shadow.get((topic, draft))
            source = "live" if live is not None else "shadow" if scored is not None else None
            figure = live if live is not None else scored
            cells.append({"answers": counts.answers, "tokens_per_run": _rounded(figure), "source": source})
        lost = regret.get(topic)
        per = _PER * lost.lost_runs / lost.tokens if lost is not None and lost.tokens else None
        rows.append({"topic": topic, "cells": cells, "regret": _rounded(per)})
    return {"drafts": drafts, "rows": rows}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
