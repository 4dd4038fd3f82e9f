"""Prompts that the target writes itself, so that a draft may learn of a topic from more than was asked.

An aligned model that is left alone in the user's turn goes on as a user would (Magpie: Xu et al. 2024). Here it is
given the first words of a recorded prompt and goes on to the end of the turn; what strays from the topic is thrown
away. A draft that learns from the answers meets more words of its topic than its recorded prompts have.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from decoding.load import load_model
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from router.classifier import Floats

_SLOTS = 16
_LEAST, _MOST = 1, 0.5  # tokens of a turn that are given, and the share of it
_STRAY = 0.02  # of the recorded queries are as far from their mean as a prompt may be at most

Ids = list[int]


class Encodes(Protocol):
    """What makes embeddings of texts: `router.embedding_cache.CachedEncoder`."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embeddings of length one, float32 [len(texts), dim]."""


def synthetic_prompts(target: Path, recorded: Sequence[Ids], count: int, seed: int = 1) -> list[Ids]:
    """Prompts that ``recorded`` does not have, each once; fewer than ``count``, as not every attempt ends as one.

    What stands before and after the user's turn is what all recorded prompts begin and end with. The same arguments
    give the same prompts.

    Returns:
        Nothing if the prompts end in nothing common: then nobody can say where a turn ends.
    """
    before, after = _common(recorded), _common([prompt[::-1] for prompt in recorded])[::-1]
    longest = max(map(len, recorded), default=0)
    usable = [prompt for prompt in recorded if len(prompt) > len(before) + len(after)]
    if not after or not usable:
        return []
    rng = random.Random(seed)
    room = max(1, longest - len(before) - len(after))
    ends = frozenset({after[0]})
    requests = []
    for number in range(count):
        prompt = usable[number % len(usable)]
        turn = len(prompt) - len(before) - len(after)
        given = rng.randint(min(_LEAST, turn), max(_LEAST, int(_MOST * turn)))
        begun = prompt[: len(before) + given]
        sampling = SamplingParams(temperature=1.0, max_tokens=room - given + 1, stop_token_ids=ends)
        requests.append(Request(str(number), begun, sampling, SeededRandomness(seed * 1_000_003 + number)))
    model = load_model(target, _SLOTS, longest)  # what is given and what is written fill no more than that
    StepLoop(model, {}).run(requests)
    found = [request.token_ids for request in requests]
    whole = dict.fromkeys((*ids[:-1], *after) for ids in found if ids[-1] == after[0] and ids[:-1])
    known = set(map(tuple, recorded))
    return [list(prompt) for prompt in whole if prompt not in known]


def on_topic(
    prompts: Sequence[Ids], queries: Sequence[str], text_of: Callable[[Ids], str], encoder: Encodes
) -> list[Ids]:
    """Those of ``prompts`` that are as near to the mean of the recorded ``queries`` as these are themselves."""
    if not prompts:
        return []
    known = encoder.encode(queries)
    centre = known.mean(axis=0)
    limit = np.quantile(known @ centre, _STRAY)
    near = encoder.encode([text_of(prompt) for prompt in prompts]) @ centre >= limit
    return [prompt for prompt, inside in zip(prompts, near.tolist(), strict=True) if inside]


def _common(texts: Sequence[Ids]) -> Ids:
    """The longest beginning that all ``texts`` share, and that none is as a whole."""
    if not texts:
        return []
    shortest = min(map(len, texts)) - 1
    first = texts[0]
    for place in range(shortest):
        if any(text[place] != first[place] for text in texts):
            return first[:place]
    return first[:shortest]
