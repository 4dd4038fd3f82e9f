"""What is remembered of one answer: enough to learn from it, and to score any draft on it without the target."""

from dataclasses import dataclass

from torch import Tensor

from decoding.request import FinishReason, Origin, SamplingParams


@dataclass(frozen=True, slots=True)
class SpeculationTrace:
    """One finished answer and what the target said at each of its positions.

    The law of the output does not depend on the draft, so a trace recorded under one draft scores all of them: the
    chance that a draft's chain survives a token is min(1, its own probability of it / the target's).

    Attributes:
        token_ids: prompt and answer; n tokens of answer behind ``prompt_length`` of prompt.
        origins: who wrote each token of the answer, n.
        run_lengths: tokens that each target run emitted, first to last; they add up to n.
        probs: the target's own probability of each emitted token, float32 [n]: nothing processed, temperature 1.
        drawn_probs: its probability under the law that it was drawn from, after all processors, temperature
            and cuts, float32 [n]; 1 where the choice was greedy.
        top_ids, top_probs: the most probable tokens of the target's own law at each position, int32 and float16
            [n, m], most probable first; what they lack to 1 is the tail.
        sampling: as the request had it.
        topic: as routed; None where nobody was asked, or had not answered in time.
        draft: name and version of the draft model that proposed last, such as ``sql@v3``; ``lookup`` where only
            prompt lookup proposed; None: nobody did.
        target: fingerprint of the target's weights.
    """

    token_ids: list[int]
    prompt_length: int
    origins: list[Origin]
    run_lengths: list[int]
    probs: Tensor
    drawn_probs: Tensor
    top_ids: Tensor
    top_probs: Tensor
    sampling: SamplingParams
    finish_reason: FinishReason
    topic: str | None
    draft: str | None
    target: str

    @property
    def answer_ids(self) -> list[int]:
        return self.token_ids[self.prompt_length :]
