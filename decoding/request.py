"""One request as the step loop sees it: token ids in, token ids out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import zip_longest

from decoding.acceptance import AcceptanceEstimate
from decoding.logprobs import MAX_TOP_LOGPROBS, TokenLogprob
from decoding.lossy import Lossy
from decoding.randomness import Randomness
from decoding.seen_tokens import SeenTokens

GREEDY_BELOW = 1e-5  # logits over a smaller temperature overflow, and greedy is what they tend to
MAX_LOGIT_BIAS = 100  # OpenAI's
_RANGES = {
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),  # any positive number to vLLM; beyond these logits may overflow
    "presence_penalty": (-2.0, 2.0),  # OpenAI's, as the next
    "frequency_penalty": (-2.0, 2.0),
}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn, applied alike to target and draft.

    Order and meaning: `decoding.processors` (bias, penalties), then `decoding.sampling` (temperature and cuts).

    Attributes:
        min_p: tokens less probable than this share of the most probable one are cut; 0 keeps all.
        repetition_penalty: above 1 makes tokens of prompt and answer less likely.
        presence_penalty: subtracted from the logits of tokens in the answer.
        frequency_penalty: subtracted from them once for each time that they stand there.
        logit_bias: (token id, added to its logit), each token once.
        num_logprobs: alternatives reported beside each emitted token's log-probability; None reports nothing.
        lossy: a verification rule that changes what is said, for speed; None is exact.

    Raises:
        ValueError: a value outside its range.
    """

    temperature: float = 0.0  # below GREEDY_BELOW it is greedy
    top_k: int = 0  # 0 keeps all
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 128
    stop_token_ids: frozenset[int] = frozenset()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    num_logprobs: int | None = None
    lossy: Lossy | None = None
    is_plain: bool = field(init=False, repr=False, compare=False)  # the model's most probable token is all it takes

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 or more")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must be 0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be 1 or more")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; it must be at least {least:g} and at most {most:g}")
        if self.num_logprobs is not None and not 0 <= self.num_logprobs <= MAX_TOP_LOGPROBS:
            raise ValueError(f"num_logprobs is {self.num_logprobs}; it must be 0 to {MAX_TOP_LOGPROBS}, or None")
        if self.lossy is not None and self.is_greedy:
            raise ValueError("lossy rules accept by probability; they need a temperature above 0")
        self._check_bias()
        object.__setattr__(self, "is_plain", self.is_greedy and not self.has_processors)

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def has_penalties(self) -> bool:
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    @property
    def has_processors(self) -> bool:
        """Something changes the logits before temperature."""
        return bool(self.logit_bias) or self.has_penalties

    def _check_bias(self) -> None:
        for token_id, bias in self.logit_bias:
            if token_id < 0:
                raise ValueError(f"logit_bias names token {token_id}; ids start at 0")
            if not -MAX_LOGIT_BIAS <= bias <= MAX_LOGIT_BIAS:
                raise ValueError(
                    f"logit_bias of token {token_id} is {bias}; it must be -{MAX_LOGIT_BIAS} to {MAX_LOGIT_BIAS}"
                )
        if len(dict(self.logit_bias)) < len(self.logit_bias):
            raise ValueError("logit_bias names a token twice")


class FinishReason(StrEnum):
    """Why a request ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


class Origin(StrEnum):
    """Who wrote a token."""

    DRAFT = "draft"  # proposed by a draft model and accepted
    LOOKUP = "lookup"  # proposed by prompt lookup and accepted
    CORRECTED = "corrected"  # the target's own, in place of a rejected proposal
    BONUS = "bonus"  # the target's own, after a wholly accepted proposal
    PLAIN = "plain"  # the target's own, nothing was proposed


@dataclass(slots=True)
class SpeculationCounts:
    """Counts of one request; every ratio is taken from these, last.

    ``num_target_runs`` counts the forwards that emitted tokens of this request, speculative or not.
    """

    num_target_runs: int = 0
    num_drafts: int = 0  # target runs that verified a proposal
    num_draft_tokens: int = 0
    num_copied_tokens: int = 0  # of the draft tokens: proposed without a draft model
    num_accepted_tokens: int = 0
    num_accepted_tokens_per_pos: list[int] = field(default_factory=list)
    num_generated_tokens: int = 0
    num_rejected_drafts: int = 0  # drafts that had a token refused

    @classmethod
    def total(cls, parts: Sequence["SpeculationCounts"]) -> "SpeculationCounts":
        """Counts of several requests together."""
        summed = {
            each.name: sum(getattr(part, each.name) for part in parts)
            for each in fields(cls)
            if each.name != "num_accepted_tokens_per_pos"
        }
        columns = zip_longest(*(part.num_accepted_tokens_per_pos for part in parts), fillvalue=0)
        return cls(**summed, num_accepted_tokens_per_pos=[sum(column) for column in columns])

    def add_run(self, num_drafted: int, num_accepted: int, num_emitted: int) -> None:
        """A target run that emitted tokens, after verifying ``num_drafted`` proposed ones (0: nothing proposed)."""
        self.num_target_runs += 1
        self.num_generated_tokens += num_emitted
        if not num_drafted:
            return
        self.num_drafts += 1
        self.num_draft_tokens += num_drafted
        self.num_accepted_tokens += num_accepted
        by_position = self.num_accepted_tokens_per_pos
        while len(by_position) < num_accepted:
            by_position.append(0)
        for position in range(num_accepted):
            by_position[position] += 1

    @property
    def mean_acceptance_length(self) -> float | None:
        """1 + accepted / drafts over speculative runs only (vLLM's meaning); None without any."""
        return 1 + self.num_accepted_tokens / self.num_drafts if self.num_drafts else None

    @property
    def alpha(self) -> float | None:
        """Share of accepted tokens among those whose position was reached."""
        reached = self.num_accepted_tokens + self.num_rejected_drafts
        return self.num_accepted_tokens / reached if reached else None

    @property
    def draft_acceptance_rate(self) -> float | None:
        """Accepted / drafted tokens; not alpha."""
        return self.num_accepted_tokens / self.num_draft_tokens if self.num_draft_tokens else None

    @property
    def tokens_per_target_run(self) -> float:
        """Generated tokens over all target runs."""
        return self.num_generated_tokens / max(1, self.num_target_runs)


@dataclass(slots=True)
class Request:
    """A request in flight.

    ``token_ids`` holds the prompt and every committed token. ``drafter`` names who proposes (None: nobody)
    and may change between two steps; ``num_draft_tokens`` is the length asked for, None for automatic;
    ``may_copy`` lets the loop's companion propose in its place; ``is_traced`` shows its runs to the loop's recorder,
    with the ``topic`` that it was routed to.

    Raises:
        ValueError: traced under a lossy rule; such an answer depends on its draft and says nothing of others.
    """

    request_id: str
    prompt_token_ids: list[int]
    sampling: SamplingParams
    randomness: Randomness
    drafter: str | None = None
    num_draft_tokens: int | None = None
    may_copy: bool = True
    is_traced: bool = False
    topic: str | None = None
    token_ids: list[int] = field(init=False)
    counts: SpeculationCounts = field(default_factory=SpeculationCounts)
    estimates: dict[str, AcceptanceEstimate] = field(default_factory=dict)  # by drafter
    seen: SeenTokens | None = None  # kept by `decoding.processors` for requests with penalties
    most_tokens: int = field(init=False)  # of prompt and answer
    is_observed: bool = field(init=False)  # somebody wants to know what the target says at its tokens
    is_simple: bool = field(init=False)  # nobody does, and the most probable tokens are all it takes

    def __post_init__(self) -> None:
        self.token_ids = list(self.prompt_token_ids)
        self.most_tokens = len(self.prompt_token_ids) + self.sampling.max_tokens
        self.is_observed = self.is_traced or self.sampling.num_logprobs is not None
        self.is_simple = self.sampling.is_plain and not self.is_observed
        if self.is_traced and self.sampling.lossy is not None:
            raise ValueError("a lossy answer depends on its draft; it cannot be traced")

    @property
    def generated(self) -> list[int]:
        return self.token_ids[len(self.prompt_token_ids) :]

    @property
    def num_remaining(self) -> int:
        """Tokens that may still be generated."""
        return self.most_tokens - len(self.token_ids)


@dataclass(slots=True)  # not frozen: that would treble the cost of what every request gets at every step
class StepOutput:
    """What one step added to one request; ``finish_reason`` is set on its last one.

    A stop token is part of ``token_ids``; whether it is shown is the caller's business. ``logprobs`` has an
    entry a token if the request wants them, else none. ``refused`` is the proposed token in whose place the target
    put its own; known of requests that are observed. ``drafter`` proposed in this step; empty where nobody did.
    """

    request: Request
    token_ids: list[int]
    origins: list[Origin]
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    refused: int | None = None
    drafter: str = ""
