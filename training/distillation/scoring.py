"""The target's laws of texts that somebody wrote, by a fresh forward each."""

from collections.abc import Sequence

from decoding.model import LanguageModel
from decoding.span import Span
from training.distillation.examples import Examples, ScoredText, pack

TOP = 32

Text = tuple[list[int], int]  # token ids, and where the part that counts begins (at least 1)


def score(target: LanguageModel, texts: Sequence[Text], top: int = TOP) -> Examples:
    """Examples of ``texts`` with the ``top`` most probable tokens of every law; needs a free slot.

    The laws are those at temperature 1 with nothing processed, whoever wrote the text.
    """
    scored = []
    for token_ids, first in texts:
        slot = target.cache.allocate()
        logits = target.forward([Span(slot, token_ids[:-1], logits_from=first - 1)])
        target.cache.release(slot)
        best = logits.softmax(dim=-1).topk(min(top, logits.size(-1)), dim=-1)
        scored.append(ScoredText(token_ids, first, best.indices, best.values))
    return pack(scored)
