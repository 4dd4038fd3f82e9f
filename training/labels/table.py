"""From acceptances to a table of costs."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from router.costs import CostTable, Floats
from training.labels.questions import Question
from training.replay import Acceptance, expected_runs

LONGEST = 8  # tokens of a proposal
_AT_ONCE = 256  # answers side by side in one recursion


def tabulate(
    questions: Sequence[Question],
    scores: Mapping[str, Sequence[Acceptance]],
    versions: Mapping[str, str],
    longest: int = LONGEST,
) -> CostTable:
    """The table of some questions.

    Args:
        scores: of every draft on every question's answer.
        versions: of every draft, such as ``sql@v3``.
    """
    tokens = np.zeros(len(questions), dtype=np.int64)
    runs = np.zeros((len(questions), len(scores), longest + 1))
    for place, found in enumerate(scores.values()):
        assert len(found) == len(questions)
        tokens = np.array([each.num_tokens for each in found], dtype=np.int64)
        runs[:, place, 0] = tokens
        runs[:, place, 1:] = _expected(found, longest)
    return CostTable(
        texts=tuple(each.text for each in questions),
        groups=tuple(each.group for each in questions),
        drafts=tuple(scores),
        versions=tuple(versions[name] for name in scores),
        tokens=tokens,
        runs=runs,
    )


def _expected(found: Sequence[Acceptance], longest: int) -> Floats:
    """Expected target runs, float64 [answers, longest]."""
    order = sorted(range(len(found)), key=lambda i: found[i].num_tokens)  # padding costs time
    runs = torch.zeros(len(found), longest, dtype=torch.float64)
    for start in range(0, len(order), _AT_ONCE):
        some = order[start : start + _AT_ONCE]
        runs[some] = expected_runs([found[i] for i in some], longest)
    return np.asarray(runs.numpy(), dtype=np.float64)
