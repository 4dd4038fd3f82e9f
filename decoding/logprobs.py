"""Log-probabilities of emitted tokens: the target's own, before any processor.

They are the log-softmax of the target's raw logits, as OpenAI and vLLM (``logprobs_mode: raw_logprobs``) report
them: bias, penalties, temperature and cuts change what is drawn, not what is reported. A row's logits do not depend
on the rows beside it, so the figures are the same with and without speculation, bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_TOP_LOGPROBS = 20  # OpenAI's limit


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural logarithm of an emitted token's probability, and the most probable tokens in its place with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def read_logprobs(
    logits: Tensor, rows: Sequence[int], token_ids: Sequence[int], num_top: Sequence[int]
) -> list[TokenLogprob]:
    """Log-probabilities of ``token_ids``, each emitted at one of ``rows``.

    Args:
        logits: [n, vocab_size], the target's, unprocessed.
        num_top: alternatives wanted a token, MAX_TOP_LOGPROBS at most. Equal ones come in the order of their ids.
    """
    logprobs = logits[torch.tensor(rows, device=logits.device)].log_softmax(dim=-1)
    own = logprobs.gather(-1, torch.tensor(token_ids, device=logits.device)[:, None])[:, 0].tolist()
    if not any(num_top):
        return [TokenLogprob(logprob) for logprob in own]
    # Always as many: which of several equal tokens make the list must not hang on what batch mates ask for.
    best = logprobs.topk(min(MAX_TOP_LOGPROBS, logprobs.size(-1)), dim=-1)
    tops = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        TokenLogprob(logprob, _first(zip(*top, strict=True), count))
        for logprob, top, count in zip(own, tops, num_top, strict=True)
    ]


def _first(pairs: "zip[tuple[int, float]]", count: int) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:count])
