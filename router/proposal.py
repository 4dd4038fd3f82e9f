"""Proposals of new topics, in a file that the learner writes and the server shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from configs.console import write_whole
from configs.errors import ConfigError

State = Literal["open", "accepted", "dismissed"]


@dataclass(frozen=True)
class Proposal:
    """Rejected requests that may be a topic.

    Attributes:
        name: taken from what its requests speak of; people may choose another one.
        centre, radius: of the ball that holds its core.
        embedding: fingerprint of the encoder that ``centre`` is of.
        requests: members when it was raised, out of so many rejected ones.
        share, base, p_value: of the density test.
        words: what its requests have in common.
    """

    name: str
    centre: tuple[float, ...]
    radius: float
    embedding: str
    requests: int
    rejected: int
    share: float
    base: float
    p_value: float
    words: tuple[str, ...]
    raised: str
    state: State = "open"

    def document(self) -> dict[str, Any]:
        """For people and programs; without the centre."""
        return {key: value for key, value in asdict(self).items() if key != "centre"}

    @property
    def sentence(self) -> str:
        """One line for a log."""
        return (
            f"new topic? {self.requests} of {self.rejected} rejected requests are alike ({', '.join(self.words[:5])}); "
            f"polydraft topics accept {self.name}"
        )


@dataclass(frozen=True)
class Proposals:
    """All that were raised, and how often somebody looked: every look may err, so later ones must be surer.

    Attributes:
        rejected: requests that the last look saw.
    """

    known: tuple[Proposal, ...] = ()
    looks: int = 0
    rejected: int = 0

    @property
    def open(self) -> tuple[Proposal, ...]:
        """Those that wait for an answer."""
        return tuple(each for each in self.known if each.state == "open")

    def named(self, name: str) -> Proposal:
        """An open proposal.

        Raises:
            ConfigError: there is none of that name.
        """
        for each in self.open:
            if each.name == name:
                return each
        others = ", ".join(each.name for each in self.open)
        raise ConfigError(
            f"there is no open proposal {name}", do=f"use one of {others}" if others else "polydraft topics propose"
        )

    def settled(self, name: str, state: State) -> "Proposals":
        """The same with one of them answered; looking begins anew, at new traffic."""
        known = tuple(replace(each, state=state) if each.name == name else each for each in self.known)
        return replace(self, known=known, looks=0)


@dataclass(frozen=True)
class ProposalFile:
    """Where a deployment's proposals are kept.

    Attributes:
        path: need not be there yet.
    """

    path: Path
    _empty: Proposals = field(default_factory=Proposals)

    def read(self) -> Proposals:
        """What is there; nothing where the file is missing or unreadable."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            known = tuple(
                Proposal(**{**each, "centre": tuple(each["centre"]), "words": tuple(each["words"])})
                for each in document["known"]
            )
            return Proposals(known, int(document["looks"]), int(document["rejected"]))
        except (OSError, ValueError, KeyError, TypeError):
            return self._empty

    def write(self, proposals: Proposals) -> None:
        """Whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(asdict(proposals)))

    @property
    def drift_path(self) -> Path:
        """Where the last look for drift is noted, beside the proposals."""
        return self.path.with_name("drift.json")

    def note_drift(
        self, what: Sequence[str], verdicts: Mapping[str, Mapping[str, bool]] | None = None, seen: str = ""
    ) -> None:
        """Remember what drifted, for the server to show.

        Args:
            what: for people.
            verdicts: by topic, of what could be judged, "queries" or "acceptance", whether it drifted.
            seen: the end of the log that was looked at, as `decoding.trace_reader.Cursor` writes it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.drift_path, json.dumps({"what": list(what), "verdicts": verdicts or {}, "seen": seen}))

    def drift(self) -> list[str]:
        """What the last look found; nothing where there was none."""
        try:
            return [str(each) for each in self._drift_document()["what"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def drift_seen(self) -> str:
        """How far in the log the last look was; "" where that is not known."""
        try:
            return str(self._drift_document()["seen"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def drift_verdicts(self) -> tuple[dict[tuple[str, str], bool], float | None]:
        """Of the last look: whether it drifted, by topic and what was judged, and when that was (Unix seconds)."""
        try:
            verdicts = self._drift_document()["verdicts"]
            found = {(topic, what): bool(is_so) for topic, row in verdicts.items() for what, is_so in row.items()}
            return found, self.drift_path.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}, None

    def _drift_document(self) -> Any:
        return json.loads(self.drift_path.read_text(encoding="utf-8"))


def proposal_file(state: Path, deployment: str) -> ProposalFile:
    """Of a deployment whose registry keeps its state in ``state``."""
    return ProposalFile(state / "topics" / deployment / "proposals.json")
