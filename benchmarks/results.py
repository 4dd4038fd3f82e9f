"""What every bench hands back: rows for programs, a table for people, a picture; and dated files of all three."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.workbench import machine, versions
from configs.console import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one bench.

    Attributes:
        name: of the dated files.
        command: repeats the measurement.
        rows: for programs; what each key means is in docs/speed.md, the same for every bench.
        columns: for people: a title, and how a row shows it.
        draw: makes the picture of the rows.
        notes: lines below the table.
        facts: further keys of the document.
    """

    name: str
    command: str
    rows: list[Row]
    columns: Mapping[str, Callable[[Row], str]]
    draw: Callable[[Sequence[Row]], "Figure"]
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        head = {"command": self.command, "machine": machine(), "versions": versions()}
        return {**head, **self.facts, "rows": self.rows}

    def table(self) -> Table:
        """For people: titles, then a line a row."""
        return list(self.columns), [[show(row) for show in self.columns.values()] for row in self.rows]

    def save(self, folder: Path) -> list[Path]:
        """Write ``DATE-name.{json,md,png}`` into ``folder``, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{date.today().isoformat()}-{self.name}"
        paths = [folder / f"{stem}.{suffix}" for suffix in ("json", "md", "png")]
        write_whole(paths[0], json.dumps(self.document(), indent=2) + "\n")
        write_whole(paths[1], self._markdown(paths[2].name))
        self.draw(self.rows).savefig(paths[2])
        return paths

    def _markdown(self, picture: str) -> str:
        hardware = ", ".join(f"{key} {value}" for key, value in machine().items())
        header, lines = self.table()
        rows = ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines)]
        parts = [f"    {self.command}", hardware, "\n".join(rows), *self.notes, f"![]({picture})"]
        return "\n\n".join(parts) + "\n"


def command_line(bench: str, **options: object) -> str:
    """The command that repeats a measurement; options that are None are left out, files go by their names."""
    return words_of("bench", bench, **options)


def words_of(*names: str, **options: object) -> str:
    """The same of any command, named by its words."""
    words = ["polydraft", *names]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value.name if isinstance(value, Path) else _word(value)]
    return " ".join(words)


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def with_spread(key: str, values: Sequence[float]) -> Row:
    """Median under ``key``, least and greatest beside it."""
    return {key: median(values), f"{key}_min": min(values), f"{key}_max": max(values)}


def shown_with_spread(row: Row, key: str, form: str = "{:.2f}", unit: str = "") -> str:
    """Median and half the range of what `with_spread` kept."""
    half = (row[f"{key}_max"] - row[f"{key}_min"]) / 2
    return f"{form.format(row[key])}{unit} ± {form.format(half)}"


def shown(value: float | None, form: str = "{:.2f}") -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else form.format(value)


def yes_no(answer: bool) -> str:
    """Loud about the rare answer."""
    return "yes" if answer else "NO"
