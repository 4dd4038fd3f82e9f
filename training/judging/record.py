"""What a hearing leaves behind: tags at the version and its run, the gate's figures and picture at the run."""

import math
from typing import Any

from registry import verdicts
from registry.store import Registry
from registry.verdicts import GATE_AGAINST, GATE_OUTCOME, Verdict
from registry.version import Version
from training.gate import Outcome
from training.online.pictures import draw_gate
from training.online.trial import Replayed, Trial

_VERDICTS: dict[Outcome, Verdict] = {Outcome.PROMOTED: "passed", Outcome.REFUSED: "refused"}


def write_down(registry: Registry, candidate: Version, against: str, trial: Trial) -> None:
    """Tags of ``candidate`` as the gate of `polydraft learn` writes them; no alias moves.

    An undecided one keeps the verdict that it had.

    Args:
        against: label of what serves.
    """
    verdict, tokens = trial.verdict, f"{trial.candidate.tokens_per_target_run:.3f}"
    facts = {"tokens_per_target_run": tokens, GATE_OUTCOME: verdict.outcome.value, GATE_AGAINST: against}
    registry.set_tags(candidate, facts)
    if verdict.outcome in _VERDICTS:
        verdicts.judge(registry, candidate, _VERDICTS[verdict.outcome], verdict.reason)
    elif "verdict" not in candidate.tags:
        registry.set_tags(candidate, {"verdict_reason": verdict.reason})
    if candidate.run_id is None or registry.run_record(candidate.run_id) is None:
        return
    gate = {"difference": verdict.difference, "requests": float(verdict.requests)}
    if math.isfinite(verdict.lower):
        gate |= {"lower": verdict.lower, "upper": verdict.upper}
    with registry.resume_run(candidate.run_id) as run:
        run.log({f"gate/{name}": value for name, value in gate.items()})
        run.log_picture("gate_sequence", draw_gate(verdict.sequence))


def document(trial: Trial) -> dict[str, Any]:
    """The verdict in target runs a token, its confidence sequence, and both drafts' figures on all requests."""
    verdict = trial.verdict
    bounds = {"difference": verdict.difference, "lower": verdict.lower, "upper": verdict.upper}
    sequence = {name: getattr(verdict.sequence, name).tolist() for name in bounds}
    return {
        "passed": verdict.outcome is Outcome.PROMOTED,
        "outcome": "passed" if verdict.outcome is Outcome.PROMOTED else verdict.outcome.value,
        "reason": verdict.reason,
        "requests": verdict.requests,
        "saved_runs_per_token": {name: _finite(value) for name, value in bounds.items()},
        "margin": verdict.delta,
        "sequence": {name: [_finite(value) for value in values] for name, values in sequence.items()},
        "figures": {
            "candidate": _figures(trial.candidate),
            "against": _figures(trial.champion),
            "control": None if trial.control is None else _figures(trial.control),
        },
    }


def _figures(side: Replayed) -> dict[str, float]:
    return {"alpha": side.alpha, "tokens_per_target_run": side.tokens_per_target_run}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
