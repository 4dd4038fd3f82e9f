"""Counts of one method, summed over requests; every ratio is taken from them, last."""

from dataclasses import dataclass, field

from benchmarks.results import Row, with_spread
from decoding.costs import StepCosts
from decoding.request import Request, SpeculationCounts


@dataclass
class Tally:
    """Counts of some requests, whether they said what they should, and speed-ups block by block."""

    counts: SpeculationCounts = field(default_factory=SpeculationCounts)
    prompts: int = 0
    differing: int = 0
    speedups: list[float] = field(default_factory=list)

    def add(self, request: Request, reference: list[int]) -> None:
        """Count one finished request."""
        self.prompts += 1
        self.differing += request.generated != reference
        self.counts = SpeculationCounts.total([self.counts, request.counts])

    def row(self) -> Row:
        """The keys that every bench shares."""
        return {
            "prompts": self.prompts,
            **counted(self.counts),
            **(with_spread("speedup", self.speedups) if self.speedups else {"speedup": None}),
            "identical": self.differing == 0,
        }


def counted(counts: SpeculationCounts) -> Row:
    """Counts and their ratios under the keys that every bench shares."""
    per_pos = counts.num_accepted_tokens_per_pos
    return {
        "tokens": counts.num_generated_tokens,
        "mean_acceptance_length": counts.mean_acceptance_length,
        "tokens_per_target_run": counts.tokens_per_target_run,
        "alpha": counts.alpha,
        "acceptance_by_position": [accepted / max(1, counts.num_drafts) for accepted in per_pos],
    }


def predicted_speedup(counts: SpeculationCounts, costs: StepCosts) -> float:
    """Tokens over the cost of their target runs and draft steps at batch 1, in target runs over one row."""
    if not counts.num_drafts:
        return counts.tokens_per_target_run
    width = 1 + round(counts.num_draft_tokens / counts.num_drafts)
    draft_steps = counts.num_draft_tokens - counts.num_copied_tokens
    speculative = counts.num_drafts * costs.target_run(width) + draft_steps * costs.draft_step(1)
    return counts.num_generated_tokens / (counts.num_target_runs - counts.num_drafts + speculative)


def break_even(costs: StepCosts, length: int) -> float | None:
    """The alpha at which proposals of ``length`` tokens cost what they bring, at batch 1; None: not even at 1.

    1 + alpha + ... + alpha^length tokens for w(length + 1) + length c target runs (Leviathan et al. 2023, theorem 3.8).
    """
    cost = costs.target_run(1 + length) + length * costs.draft_step(1)
    if 1 + length <= cost:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        enough = sum(middle**power for power in range(length + 1)) >= cost
        low, high = (low, middle) if enough else (middle, high)
    return high
