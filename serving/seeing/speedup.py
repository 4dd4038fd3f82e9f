"""What speculation should gain, by counts and by what steps cost on this machine."""

from serving.seeing.history import Counts

_BETWEEN = 4  # tokens between the two lengths of a target run that were measured


def expected_speedup(counts: Counts, draft_step: float, target_run_5: float) -> float | None:
    """Tokens over what their runs cost in plain runs, one answer at a time; None of no run.

    w grows evenly between 1 and 5 tokens; what is copied costs its place in the run, and no draft step. The live page
    reckons the same of one answer (`expectedSpeedup` in summary.js), the canary with all costs (`speedup_of`).
    """
    own = counts.drafted - counts.copied
    cost = counts.runs + counts.drafted * (target_run_5 - 1) / _BETWEEN + own * draft_step
    return counts.tokens / cost if counts.runs else None
