"""Two versions side by side: their figures with differences, and what else about them differs."""

from collections.abc import Mapping
from typing import Any

from registry.aliases import PREVIOUS, SINCE
from registry.figures import FIGURES, FINAL, GROUPS, metrics_of
from registry.records import RunRecord
from registry.version import Version

Document = dict[str, Any]

# What is compared apart from figures: the rest is about when and how a version was stored.
_UNTOLD = {"content", "starter", "verdict", "verdict_reason", PREVIOUS, SINCE}
_CONFIG = "config: "
_HELD_OUT = ("(validation)", "(gate)")


def compare(one: Version, other: Version, runs: tuple[RunRecord | None, RunRecord | None]) -> Document:
    """For ``polydraft registry compare``: ``runs`` are those that made the two versions."""
    figures = [_figures(version, run) for version, run in zip((one, other), runs, strict=True)]
    names = sorted(figures[0].keys() | figures[1].keys())
    return {
        "versions": [one.label, other.label],
        "figures": [_row(name, figures[0].get(name), figures[1].get(name)) for name in names],
        "same_held_out_text": _held_out(runs[0]) is not None and _held_out(runs[0]) == _held_out(runs[1]),
        "verdicts": [_verdict(one), _verdict(other)],
        "differs": _differences(one, other, runs),
    }


def comparison_lines(document: Document) -> tuple[list[str], list[list[str]]]:
    """Header and lines for people: the figures, then what differs."""
    header = ["figure", *document["versions"], "difference"]
    lines = [
        [row["figure"], *(_shown(row[key]) for key in ("first", "second")), _signed(row["difference"])]
        for row in document["figures"]
    ]
    if any(document["verdicts"]):
        lines.append(["verdict", *(verdict or "-" for verdict in document["verdicts"]), ""])
    lines += [[row["what"], row["first"] or "-", row["second"] or "-", ""] for row in document["differs"]]
    return header, lines


def _figures(version: Version, run: RunRecord | None) -> dict[str, float]:
    logged = {} if run is None else {key: run.figures[key] for key in run.figures if key.partition("/")[0] in GROUPS}
    final = (
        {}
        if run is None
        else {key.removeprefix(FINAL): run.figures[key] for key in run.figures if key.startswith(FINAL)}
    )
    # Of a curve, MLflow hands back the last point, which is not what was registered.
    return dict(sorted({**logged, **final, **metrics_of(version.tags)}.items()))


def _held_out(run: RunRecord | None) -> dict[str, str] | None:
    """The data that figures were measured on; None where nothing says."""
    data = {} if run is None else {name: run.data[name] for name in run.data if name.endswith(_HELD_OUT)}
    return data or None


def _row(name: str, first: float | None, second: float | None) -> Document:
    difference = None if first is None or second is None else second - first
    return {"figure": name, "first": first, "second": second, "difference": difference}


def _verdict(version: Version) -> str | None:
    verdict, reason = version.tags.get("verdict"), version.tags.get("verdict_reason")
    return f"{verdict}: {reason}" if verdict and reason else verdict


def _differences(one: Version, other: Version, runs: tuple[RunRecord | None, RunRecord | None]) -> list[Document]:
    told = [_told(version, run) for version, run in zip((one, other), runs, strict=True)]
    names = [name for name in dict.fromkeys([*told[0], *told[1]]) if told[0].get(name) != told[1].get(name)]
    if any(run is None or not run.params for run in runs):  # nothing to set a configuration beside
        names = [name for name in names if not name.startswith(_CONFIG)]
    return [{"what": name, "first": told[0].get(name), "second": told[1].get(name)} for name in names]


def _told(version: Version, run: RunRecord | None) -> dict[str, str]:
    tags = {key: version.tags[key] for key in sorted(version.tags) if key not in _UNTOLD | FIGURES}
    if run is None:
        return tags
    git: Mapping[str, str] = {"git": run.tags["git"]} if "git" in run.tags else {}
    data = {f"data: {name}": digest for name, digest in run.data.items()}
    return {**tags, **git, **data, **{f"{_CONFIG}{key}": value for key, value in sorted(run.params.items())}}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:+.3g}"
