"""The law of the next token, written down as plainly as it is defined: floats, one token after the other."""

import math
from collections.abc import Sequence

from decoding.request import SamplingParams


def reference_logits(
    logits: Sequence[float], prompt: Sequence[int], answer: Sequence[int], params: SamplingParams
) -> list[float]:
    """Bias, then repetition, frequency and presence penalty."""
    bias = dict(params.logit_bias)
    processed = []
    for token_id, raw in enumerate(logits):
        value = raw + bias.get(token_id, 0.0)
        if token_id in prompt or token_id in answer:
            value = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
        count = list(answer).count(token_id)
        value -= params.frequency_penalty * count
        value -= params.presence_penalty * (count > 0)
        processed.append(value)
    return processed


def reference_law(
    logits: Sequence[float], prompt: Sequence[int], answer: Sequence[int], params: SamplingParams
) -> list[float]:
    """Probability of every token after ``prompt`` and ``answer``: temperature, min-p, top-k, top-p."""
    scaled = [value / params.temperature for value in reference_logits(logits, prompt, answer, params)]
    law = _normalised([math.exp(value - max(scaled)) for value in scaled])
    law = _cut(law, params.min_p * max(law))
    if 0 < params.top_k < len(law):
        law = _cut(law, sorted(law, reverse=True)[params.top_k - 1])
    if params.top_p < 1:
        mass = 0.0
        for least in sorted(law, reverse=True):
            mass += least
            if mass >= params.top_p:
                break
        law = _cut(law, least)
    return law


def _cut(law: Sequence[float], least: float) -> list[float]:
    return _normalised([value if value >= least else 0.0 for value in law])


def _normalised(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]
