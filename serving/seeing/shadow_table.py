"""What drafts that were not chosen would have done, in tokens a target run: from the table of `polydraft learn`."""

import json
from pathlib import Path

import numpy as np

from configs.errors import RouterError
from router.costs import HEADER, CostTable
from serving.seeing.regret_file import FILE

_LENGTH = 4  # where the state file does not say
_LEAST = 5  # answers; fewer say little


class ShadowTable:
    """Tokens a target run by topic and draft. Reading the table is work for a thread: `refresh`."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._seen: int | None = None
        self.tokens_per_run: dict[tuple[str, str], float] = {}

    def refresh(self) -> None:
        """Read the table anew if it has changed; one that cannot be read leaves the last figures."""
        try:
            changed = (self._folder / HEADER).stat().st_mtime_ns
        except OSError:
            return
        if changed == self._seen:
            return
        self._seen = changed
        try:
            self.tokens_per_run = _figures(CostTable.load(self._folder), self._length())
        except RouterError:
            return  # replaced while it was read, or damaged, which `polydraft learn` says

    def _length(self) -> int:
        try:
            return int(json.loads((self._folder / FILE).read_text(encoding="utf-8"))["length"])
        except (OSError, ValueError, KeyError, TypeError):
            return _LENGTH


def _figures(table: CostTable, length: int) -> dict[tuple[str, str], float]:
    runs = table.runs[:, :, min(length, table.longest)]
    groups = np.asarray(table.groups)
    found = {}
    for topic in set(table.groups) - {""}:
        for place, draft in enumerate(table.drafts):
            rows = (groups == topic) & ~np.isnan(runs[:, place])
            if rows.sum() >= _LEAST:
                found[topic, draft] = float(table.tokens[rows].sum() / runs[rows, place].sum())
    return found
