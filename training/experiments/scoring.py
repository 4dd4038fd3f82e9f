"""How drafts fare on recorded answers, request by request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from decoding.load import load_draft
from decoding.trace import SpeculationTrace
from training.replay import acceptances, expected_runs, mean_acceptance

LONGEST = 8
_SLOTS = 16


@dataclass(frozen=True, slots=True)
class Replayed:
    """A draft on the answers of one topic and temperature.

    Attributes:
        tokens: of each answer, [n].
        runs: expected target runs of each answer for every proposal length from 1 up, [n, LONGEST].
        alpha: mean chance of acceptance.
    """

    tokens: Tensor
    runs: Tensor
    alpha: float


@dataclass(frozen=True, slots=True)
class Score:
    """A draft on the answers of one topic, by the temperature that they were drawn at."""

    at: Mapping[float, Replayed]

    def tokens(self, temperature: float) -> Tensor:
        """Tokens of each answer, [n]."""
        return self.at[temperature].tokens

    def runs(self, temperature: float, length: int) -> Tensor:
        """Target runs of each answer with chains of ``length`` tokens, [n]."""
        return self.at[temperature].runs[:, length - 1]

    def alpha(self, temperature: float) -> float:
        """Mean chance of acceptance."""
        return self.at[temperature].alpha


def score(draft: Path, traces: Mapping[float, Sequence[SpeculationTrace]]) -> Score:
    """Replay the draft in folder ``draft`` on recorded answers."""
    longest = max(len(trace.token_ids) for group in traces.values() for trace in group)
    model = load_draft(draft, _SLOTS, longest)
    found = {}
    for temperature, group in traces.items():
        accepted = acceptances(model, group)
        tokens = torch.tensor([each.num_tokens for each in accepted], dtype=torch.float64)
        found[temperature] = Replayed(tokens, expected_runs(accepted, LONGEST), mean_acceptance(accepted))
    return Score(found)
