"""Toy models whose laws are known exactly, and a way to enumerate every random decision of a run."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from decoding.cache import KVCache
from decoding.config import ModelConfig
from decoding.model import PlainGreedy
from decoding.request import Request, SamplingParams, SpeculationCounts
from decoding.span import Span
from tests.reference_law import reference_law, reference_logits


def toy_config(vocab_size: int) -> ModelConfig:
    """The smallest cache there is: one layer, one head, one channel."""
    return ModelConfig(
        family="llama",
        vocab_size=vocab_size,
        hidden_size=1,
        intermediate_size=1,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=1,
        rms_norm_eps=1e-6,
        inv_freq=(),
        rope_attention_factor=1.0,
        attention_bias=False,
        output_bias=False,
        mlp_bias=False,
        qk_norm=False,
        tie_embeddings=True,
        max_position_embeddings=64,
        eos_token_ids=(),
    )


class ToyModel(PlainGreedy):
    """A language model whose logits are an arbitrary function of the last ``memory`` tokens.

    The real `KVCache` holds token ids in place of keys, so that a context is read back exactly as
    attention would read it: a wrong commit or rollback changes the law.
    """

    def __init__(self, vocab_size: int, seed: int, memory: int = 2, num_slots: int = 4, max_length: int = 64):
        self.config = toy_config(vocab_size)
        self.cache = KVCache(self.config, num_slots, max_length, dtype=torch.float64)
        self.num_forwards = 0
        self.num_weight_bytes = 1000
        self._seed, self._memory = seed, memory

    def logits(self, context: Sequence[int]) -> Tensor:
        """Logits [vocab_size], float64, after ``context``."""
        code = self._seed
        for token_id in context[-self._memory :]:
            code = (code * 31 + token_id + 1) % 1_000_003
        generator = torch.Generator().manual_seed(code)
        return 1.5 * torch.randn(self.config.vocab_size, generator=generator, dtype=torch.float64)

    def forward(self, spans: Sequence[Span]) -> Tensor:
        self.num_forwards += 1
        rows = [row for span in spans for row in self._rows(span)]
        return torch.stack(rows) if rows else torch.zeros(0, self.config.vocab_size)

    def _rows(self, span: Span) -> list[Tensor]:
        start = self.cache.lengths[span.slot]
        held = [int(token_id) for token_id in self.cache.keys[0, span.slot, 0, :start, 0]]
        parents = span.parents if span.parents is not None else list(range(-1, len(span.token_ids) - 1))
        contexts: list[list[int]] = []
        for row, (token_id, parent) in enumerate(zip(span.token_ids, parents, strict=True)):
            self.cache.keys[0, span.slot, 0, start + row, 0] = token_id
            contexts.append([*(contexts[parent] if parent >= 0 else held), token_id])
        return [self.logits(context) for context in contexts[span.logits_from :]]

    def greedy(self, prompt: Sequence[int], length: int, params: SamplingParams | None = None) -> list[int]:
        """What the target alone says at temperature 0."""
        answer: list[int] = []
        for _ in range(length):
            logits = self.logits([*prompt, *answer]).tolist()
            processed = reference_logits(logits, prompt, answer, params or SamplingParams())
            answer.append(processed.index(max(processed)))
        return answer

    def law(self, prompt: Sequence[int], params: SamplingParams) -> dict[tuple[int, ...], float]:
        """Probability of every answer of ``params.max_tokens`` tokens or ending in a stop token."""
        done: dict[tuple[int, ...], float] = {}
        open_ends: dict[tuple[int, ...], float] = {(): 1.0}
        while open_ends:
            answer, mass = open_ends.popitem()
            for token_id, probability in enumerate(self._next(prompt, answer, params)):
                if probability > 0:
                    longer = (*answer, token_id)
                    ended = len(longer) == params.max_tokens or token_id in params.stop_token_ids
                    (done if ended else open_ends)[longer] = mass * probability
        return done

    def _next(self, prompt: Sequence[int], answer: Sequence[int], params: SamplingParams) -> list[float]:
        return reference_law(self.logits([*prompt, *answer]).tolist(), prompt, answer, params)


class Scripted:
    """Randomness that follows a script of options, then takes the first option of each further decision."""

    def __init__(self, script: Sequence[int]):
        self._script = script
        self.probability = 1.0
        self.decisions: list[tuple[int, list[float]]] = []

    def choose(self, weights: Tensor) -> int:
        law = (weights / weights.sum()).tolist()
        options = [index for index, probability in enumerate(law) if probability > 0]
        return options[self._decide([law[index] for index in options])]

    def accept(self, probability: float) -> bool:
        certain = min(1.0, probability)
        if certain in (0.0, 1.0):
            return certain == 1.0
        return self._decide([certain, 1 - certain]) == 0

    def _decide(self, probabilities_: list[float]) -> int:
        place = len(self.decisions)
        option = self._script[place] if place < len(self._script) else 0
        self.decisions.append((option, probabilities_))
        self.probability *= probabilities_[option]
        return option


def exact_law(run: Callable[[Scripted], tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """The law of what ``run`` returns, by running it once for every sequence of random decisions."""
    law: dict[tuple[int, ...], float] = {}
    scripts: list[list[int]] = [[]]
    while scripts:
        script = scripts.pop()
        randomness = Scripted(script)
        result = run(randomness)
        law[result] = law.get(result, 0.0) + randomness.probability
        for place in range(len(script), len(randomness.decisions)):
            taken = [option for option, _ in randomness.decisions[:place]]
            scripts.extend([*taken, other] for other in range(1, len(randomness.decisions[place][1])))
    return law


def distance(law: dict[tuple[int, ...], float], other: dict[tuple[int, ...], float]) -> float:
    """Largest difference of two laws at any outcome."""
    return max(abs(law.get(key, 0.0) - other.get(key, 0.0)) for key in law.keys() | other.keys())


def make_request(
    prompt: Sequence[int], params: SamplingParams, randomness: Scripted | None = None, **options: object
) -> Request:
    """A request with decisions that a test controls; ``options`` are further fields of `Request`."""
    return Request(
        request_id=str(options.pop("request_id", "r")),
        prompt_token_ids=list(prompt),
        sampling=params,
        randomness=randomness or Scripted([]),
        counts=SpeculationCounts(),
        **options,  # type: ignore[arg-type]
    )
