"""What the step loop and the drafters ask of a language model."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from decoding.cache import KVCache
from decoding.config import ModelConfig
from decoding.proposal import Proposal
from decoding.sampling import argmax
from decoding.span import Span
from decoding.span_check import check_draft_room
from decoding.verification.matching import verify_greedy
from decoding.verification.result import VerificationResult


class LanguageModel(Protocol):
    """A causal language model with a slot cache.

    Implementations: `decoding.native_model.NativeModel` (compiled, CPU) and
    `decoding.torch_model.TorchModel` (reference, and wherever no compiler is).
    """

    config: ModelConfig
    cache: KVCache
    num_weight_bytes: int

    def forward(self, spans: Sequence[Span]) -> Tensor:
        """Run all rows of all spans in one pass and write their keys and values behind each slot's length.

        Returns:
            Logits, float32, [sum of span.num_logits, vocab_size]: the wanted rows of the first span,
            then of the second, and so on. Owned by the caller until the next forward of this model.

        The slots' lengths are left alone: `KVCache.commit` moves them. A row's logits do not depend on
        which other rows share the pass, bit for bit.
        """
        ...

    def argmax(self, logits: Tensor) -> list[int]:
        """The most probable token of each row of this model's logits [rows, vocab_size]; the first of equals."""
        ...

    def verify_greedy(self, logits: Tensor, proposals: Sequence[Proposal]) -> list[VerificationResult]:
        """How far the most probable tokens follow each proposal: `decoding.verification.verify_greedy`.

        Args:
            logits: of the last forward, whose spans that wanted any ended in these proposals: each the row of its last
                committed token, then its proposal's.
        """
        ...

    def draft(self, spans: Sequence[Span], lengths: Sequence[int]) -> list[list[int]]:
        """Run the pass, then let each span go on greedily until it has its number of new tokens, 1 or more.

        Each span wants the logits of its last row and no others. All rows that were fed are committed: those
        of the spans and every new token but the last. Raises ValueError where a slot has no room for them.
        """
        ...


class PlainGreedy:
    """`argmax`, `verify_greedy` and `draft` in terms of `forward`, for models that have no faster way."""

    cache: KVCache

    def forward(self, spans: Sequence[Span]) -> Tensor:
        """See `LanguageModel.forward`."""
        raise NotImplementedError

    def argmax(self, logits: Tensor) -> list[int]:
        """See `LanguageModel.argmax`."""
        return argmax(logits)

    def verify_greedy(self, logits: Tensor, proposals: Sequence[Proposal]) -> list[VerificationResult]:
        """See `LanguageModel.verify_greedy`."""
        return walk(self.argmax(logits), proposals)

    def draft(self, spans: Sequence[Span], lengths: Sequence[int]) -> list[list[int]]:
        """See `LanguageModel.draft`."""
        check_draft_room(spans, lengths, self.cache)
        drafted: list[list[int]] = [[] for _ in spans]
        active = [(span, index) for index, span in enumerate(spans)]
        while active:
            best = self.argmax(self.forward([span for span, _ in active]))
            going = []
            for token_id, (span, index) in zip(best, active, strict=True):
                self.cache.commit(span.slot, range(len(span.token_ids)))
                drafted[index].append(token_id)
                if len(drafted[index]) < lengths[index]:
                    going.append((Span(span.slot, [token_id]), index))
            active = going
        return drafted


def walk(best: list[int], proposals: Sequence[Proposal]) -> list[VerificationResult]:
    """Each proposal against its part of the most probable tokens of all rows, one behind the other."""
    return list(map(verify_greedy, proposals, by_proposal(best, proposals)))


def by_proposal(best: list[int], proposals: Sequence[Proposal]) -> list[list[int]]:
    """Of something for every row, what is each proposal's: one for the token before it, and one for each of its own."""
    found, row = [], 0
    for proposal in proposals:
        end = row + 1 + len(proposal.token_ids)
        found.append(best[row:end])
        row = end
    return found
