"""Dated results: one JSON document, one Markdown table with the command on top, one picture."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from configs.console import write_whole

_BLUE, _ORANGE, _INK = "#0A66B7", "#B54700", "#17202B"


def save_results(
    folder: Path,
    name: str,
    command: str,
    document: Mapping[str, Any],
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    bars: Mapping[str, tuple[float, float]],
) -> list[Path]:
    """Write ``DATE-name.{json,md,png}`` into ``folder``.

    Args:
        bars: by topic, tokens a target run and speed-up over plain decoding.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{date.today().isoformat()}-{name}"
    paths = [folder / f"{stem}.{suffix}" for suffix in ("json", "md", "png")]
    write_whole(paths[0], json.dumps(document, indent=2) + "\n")
    write_whole(paths[1], _markdown(command, document, header, lines, f"{stem}.png"))
    _picture(paths[2], bars)
    return paths


def _markdown(
    command: str, document: Mapping[str, Any], header: Sequence[str], lines: Sequence[Sequence[str]], picture: str
) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    rows = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *lines)]
    shares = ", ".join(f"{part} {share:.0%}" for part, share in document.get("step_shares", {}).items())
    return "\n".join([f"    {command}", "", machine, "", *rows, "", f"Step: {shares}", "", f"![]({picture})", ""])


def _picture(path: Path, bars: Mapping[str, tuple[float, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.6), dpi=160)
    places = range(len(bars))
    runs, speedups = zip(*bars.values(), strict=True)
    axes.bar([place - 0.2 for place in places], runs, width=0.38, color=_BLUE, label="tokens a target run")
    axes.bar([place + 0.2 for place in places], speedups, width=0.38, color=_ORANGE, label="speed-up over plain")
    axes.axhline(1, color=_INK, linewidth=0.8)
    axes.set_xticks(list(places), list(bars))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
