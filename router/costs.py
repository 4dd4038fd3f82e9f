"""What every draft would have cost on the target's own answer to every prompt: the labels of a router.

A table comes from exact replay (`training/labels`) and holds counts, not prices, so that it serves every machine. Its
folder holds ``costs.json``, which names everything, and the arrays beside it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from configs.errors import RouterError

FORMAT = 1
HEADER = "costs.json"
_NAMES = ("texts", "groups", "drafts", "versions")
_AGAIN = "measure it again: polydraft router label --output DIR"

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Prices:
    """What counts come to on one machine.

    Attributes:
        draft: step cost c of each draft in plain target runs, d.
        width: w: cost of a verification of n + 1 positions relative to one, for n = 0 to K; the first is 1.
    """

    draft: tuple[float, ...]
    width: tuple[float, ...]

    def runs(self, draft: int) -> Floats:
        """Cost of one target run with k = 0 to K proposed tokens of a draft, float64 [K + 1]."""
        lengths = np.arange(len(self.width))
        return np.asarray(self.width, dtype=np.float64) + self.draft[draft] * lengths


@dataclass(frozen=True)
class CostTable:
    """What every draft would have cost on the target's answer to every prompt, by exact replay.

    Attributes:
        texts: prompts, n.
        groups: under which name each was collected: a topic, ``out_of_scope``, or "" where unknown, n.
        drafts: names, d (``general``, ``sql``), each once.
        versions: ``sql@v3``, d.
        tokens: of each answer, int64 [n].
        runs: expected target runs with proposals of k = 0 to K tokens, float64 [n, d, K + 1]; k = 0 is plain decoding,
            as many as tokens. NaN where a draft was not scored on an answer.
    """

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    drafts: tuple[str, ...]
    versions: tuple[str, ...]
    tokens: Integers
    runs: Floats

    def __post_init__(self) -> None:
        shape = len(self.texts), len(self.drafts)
        sizes = (len(self.groups), len(self.versions)), self.tokens.shape, self.runs.shape[:2]
        if sizes != (shape, shape[:1], shape) or self.runs.ndim != 3 or self.runs.shape[2] < 2:
            raise ValueError(f"{shape[0]} prompts and {shape[1]} drafts do not fit runs {list(self.runs.shape)}")
        if len(set(self.drafts)) < len(self.drafts):
            raise ValueError(f"a draft is named twice: {', '.join(self.drafts)}")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def longest(self) -> int:
        """K, the longest proposal that was scored."""
        return int(self.runs.shape[2]) - 1

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which drafts were scored on which answers, [n, d]."""
        return ~np.isnan(self.runs[:, :, -1])

    def costs(self, prices: Prices, lengths: Sequence[int] | None = None) -> Floats:
        """Cost of each answer under each draft, float64 [n, d], in plain target runs.

        Each draft proposes at one length, as nobody knows a prompt's own before it is answered; at length 0 it costs
        what plain decoding does.

        Args:
            lengths: 0 to K for each draft, such as another table's; without it, `best_lengths` of this one.

        Raises:
            ValueError: the prices or lengths are not of these drafts or lengths.
        """
        at = self.best_lengths(prices) if lengths is None else tuple(lengths)
        whole = self._priced(prices)
        if len(at) != len(self.drafts) or not all(0 <= length <= self.longest for length in at):
            raise ValueError(f"lengths {list(at)} for {len(self.drafts)} drafts and {self.longest} lengths")
        return whole[:, np.arange(len(at)), np.asarray(at, dtype=np.int64)]

    def best_lengths(self, prices: Prices) -> tuple[int, ...]:
        """The proposal length, 0 to K, at which the drafts are compared, once for each draft, d.

        It is one for all: that of least cost where every answer has its best draft. A draft's own best over all
        answers would be too short for those that it is good at, and drafts that differ in length would be chosen for
        the length: a hard prompt goes to whoever proposes little.

        Raises:
            ValueError: the prices are not of these drafts or lengths.
        """
        whole = self._priced(prices)
        best = np.where(np.isnan(whole), np.inf, whole).min(axis=1, initial=np.inf)
        return (int(np.where(np.isinf(best), 0.0, best).sum(axis=0).argmin()),) * len(self.drafts)

    def _priced(self, prices: Prices) -> Floats:
        """Cost at every length, float64 [n, d, K + 1]."""
        if (len(prices.draft), len(prices.width)) != self.runs.shape[1:]:
            given = f"{len(prices.draft)} drafts and {len(prices.width) - 1} lengths"
            raise ValueError(f"prices of {given} for {len(self.drafts)} drafts and {self.longest} lengths")
        rates = [prices.runs(d) for d in range(len(self.drafts))]
        return self.runs * np.reshape(rates, (1, *self.runs.shape[1:]))

    def rows(self, index: NDArray[Any] | Sequence[int]) -> "CostTable":
        """The prompts at ``index`` (numbers, or a flag for each), in that order."""
        chosen = np.arange(len(self))[np.asarray(index, dtype=None if len(index) else np.int64)]
        return replace(
            self,
            texts=tuple(self.texts[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            tokens=self.tokens[chosen],
            runs=self.runs[chosen],
        )

    def select(self, drafts: Sequence[str]) -> "CostTable":
        """Only these drafts, in this order.

        Raises:
            ValueError: the table has no such draft.
        """
        places = [self.drafts.index(name) for name in drafts]
        versions = tuple(self.versions[place] for place in places)
        return replace(self, drafts=tuple(drafts), versions=versions, runs=self.runs[:, places])

    @property
    def digest(self) -> str:
        """Sixteen hex digits over everything the table says."""
        return _sha256(json.dumps(_names(self)).encode() + _bytes(self))[:16]

    def save(self, folder: Path) -> None:
        """Write the table into ``folder``, whole or not at all; a table that was there is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        content = _bytes(self)
        arrays = f"costs-{_sha256(content)[:16]}.safetensors"
        # The header decides which arrays count: a kill between the two leaves the old table.
        _replace(folder / arrays, content)
        header = {"format": FORMAT, "arrays": arrays, "sha256": _sha256(content), **_names(self)}
        _replace(folder / HEADER, (json.dumps(header) + "\n").encode())
        for stale in folder.glob("costs-*.safetensors"):
            if stale.name != arrays:
                stale.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> "CostTable":
        """What `save` wrote.

        Raises:
            RouterError: there is none, or it is damaged.
        """
        header = _header(folder / HEADER)
        try:
            content = (folder / header["arrays"]).read_bytes()
            if _sha256(content) != header["sha256"]:
                raise RouterError(f"{folder / header['arrays']} is damaged", do=_AGAIN)
            arrays = load(content)
            names = {key: tuple(header[key]) for key in _NAMES}
            return cls(tokens=arrays["tokens"], runs=arrays["runs"], **names)
        except RouterError:
            raise
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise RouterError(f"the costs in {folder} are damaged: {error}", do=_AGAIN) from error


def merge(tables: Sequence[CostTable]) -> CostTable:
    """All prompts of several tables; where two have one prompt, only the later table's rows of it stay.

    The drafts are those of all tables. A draft's version is the last table's that has it: rows that were scored under
    another version, or not at all, are NaN there. Of different K the least is kept.

    Raises:
        ValueError: there is no table.
    """
    if not tables:
        raise ValueError("there is no table to merge")
    versions = {name: version for table in tables for name, version in zip(table.drafts, table.versions, strict=True)}
    width = min(table.runs.shape[2] for table in tables)
    kept: list[CostTable] = []
    later: set[str] = set()
    for table in reversed(tables):
        chosen = table.rows([i for i, text in enumerate(table.texts) if text not in later])
        later.update(table.texts)
        runs = np.full((len(chosen), len(versions), width), np.nan)
        for place, (name, version) in enumerate(versions.items()):
            if name in table.drafts and table.versions[table.drafts.index(name)] == version:
                runs[:, place] = chosen.runs[:, table.drafts.index(name), :width]
        kept.insert(0, replace(chosen, drafts=tuple(versions), versions=tuple(versions.values()), runs=runs))
    return CostTable(
        texts=tuple(text for table in kept for text in table.texts),
        groups=tuple(group for table in kept for group in table.groups),
        drafts=tuple(versions),
        versions=tuple(versions.values()),
        tokens=np.concatenate([table.tokens for table in kept]),
        runs=np.concatenate([table.runs for table in kept]),
    )


def _names(table: CostTable) -> dict[str, list[str]]:
    return {key: list(getattr(table, key)) for key in _NAMES}


def _bytes(table: CostTable) -> bytes:
    tokens, runs = np.ascontiguousarray(table.tokens, np.int64), np.ascontiguousarray(table.runs, np.float64)
    return save({"tokens": tokens, "runs": runs})


def _header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RouterError(f"no {HEADER} in {path.parent}", do=_AGAIN)
    try:
        header: Any = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RouterError(f"{path} is not JSON", do=_AGAIN) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or not {"arrays", "sha256"} <= header.keys():
        raise RouterError(f"{path} is no table of costs of format {FORMAT}", do=_AGAIN)
    return header


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
