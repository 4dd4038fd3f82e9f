"""The text that the drafts learn from: the target's own answers, with its top probabilities at every position."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from decoding.checkpoint import fingerprint
from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from training.distillation.examples import Examples

TOP = 32
GREEDY = 3  # in five answers
TURNS = 4  # at most, in which a topic's prompts are answered
_SLOTS = 16
_PART = 1000  # prompts that are answered and kept together


@dataclass(frozen=True)
class Answers:
    """Answers of one topic, back to back.

    Attributes:
        token_ids: prompts and answers, int32 [tokens].
        starts: where each text begins and, last, where all end, [texts + 1].
        answer_starts: where each answer begins, [texts].
        top_ids, top_probs: the target's law of the token *after* each position, [tokens, TOP].
    """

    token_ids: Tensor
    starts: Tensor
    answer_starts: Tensor
    top_ids: Tensor
    top_probs: Tensor

    def __len__(self) -> int:
        return len(self.answer_starts)

    def answer_mask(self) -> Tensor:
        """Which of ``token_ids`` belong to answers, [tokens]."""
        place = torch.arange(len(self.token_ids))
        text = torch.searchsorted(self.starts, place, right=True) - 1
        return place >= self.answer_starts[text]

    def examples(self) -> Examples:
        """The answers as examples: every answer token with its law, which stands one position before it."""
        places = self.answer_mask().nonzero()[:, 0]
        return Examples(
            token_ids=self.token_ids,
            starts=self.starts,
            places=places,
            weights=torch.ones(len(places)),
            top_ids=self.top_ids[places - 1],
            top_probs=self.top_probs[places - 1],
        )


def write_texts(
    folder: Path, prompts: list[list[int]], end_token: int, max_tokens: int, tokens: int, target: Path
) -> Answers:
    """Let the target answer ``prompts`` until there are ``tokens`` of text, prompts and answers together.

    Prompts that all have an answer before that are answered again, up to `TURNS` times in all, and drawn from the
    second time on: a greedy answer would only repeat itself. What is written is kept in parts, and found again.
    """
    parts: list[Answers] = []
    written, longest = 0, max(map(len, prompts))
    for turn in range(TURNS):
        order = choose_prompts(prompts, len(prompts), longest, seed=turn + 1)
        start = 0
        while start < len(order):
            if written >= tokens:
                return joined(parts)
            length = written / sum(map(len, parts)) if parts else longest + max_tokens
            chosen = order[start : start + min(_PART, math.ceil((tokens - written) / length))]
            seed, greedy = 1 + turn * len(prompts) + start, GREEDY if turn == 0 else 0
            place = folder / f"{turn}-{start:05d}"
            parts.append(write_answers(place, chosen, end_token, max_tokens, seed, target, greedy))
            written += len(parts[-1].token_ids)
            start += len(chosen)
    return joined(parts)


def write_answers(
    folder: Path,
    prompts: list[list[int]],
    end_token: int,
    max_tokens: int,
    seed: int,
    target: Path,
    greedy: int = GREEDY,
) -> Answers:
    """Let the target answer ``prompts``, ``greedy`` in five greedily, the rest at temperature 0.8; saved in ``folder``.

    Returns what is there already if it was made from the same prompts, target and settings.
    """
    stamp = {"prompts": len(prompts), "max_tokens": max_tokens, "seed": seed, "target": fingerprint(target)}
    if greedy != GREEDY:
        stamp["greedy"] = greedy
    if (folder / "stamp.json").is_file() and json.loads((folder / "stamp.json").read_text()) == stamp:
        return load_answers(folder)
    model = load_model(target, num_slots=_SLOTS, max_length=1024)
    loop = StepLoop(model, {})
    requests = [
        Request(
            request_id=str(number),
            prompt_token_ids=prompt,
            sampling=SamplingParams(
                temperature=0.0 if number % 5 < greedy else 0.8,
                max_tokens=max_tokens,
                stop_token_ids=frozenset({end_token}),
            ),
            randomness=SeededRandomness(seed * 1_000_003 + number),
        )
        for number, prompt in enumerate(prompts)
    ]
    loop.run(requests)
    answers = _score(model, requests)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(vars(answers), folder / "answers.safetensors")
    (folder / "stamp.json").write_text(json.dumps(stamp))
    return answers


def load_answers(folder: Path) -> Answers:
    """What `write_answers` saved."""
    return Answers(**load_file(folder / "answers.safetensors"))


def _score(model: LanguageModel, requests: list[Request]) -> Answers:
    ids: list[Tensor] = []
    probs: list[Tensor] = []
    for request in requests:
        slot = model.cache.allocate()
        law = model.forward([Span(slot, request.token_ids)]).softmax(dim=-1)
        model.cache.release(slot)
        top = law.topk(TOP, dim=-1)
        ids.append(top.indices.to(torch.int32))
        probs.append(top.values.to(torch.float16))
    lengths = torch.tensor([0] + [len(request.token_ids) for request in requests]).cumsum(0)
    prompt_lengths = torch.tensor([len(request.prompt_token_ids) for request in requests])
    return Answers(
        token_ids=torch.tensor([token for request in requests for token in request.token_ids], dtype=torch.int32),
        starts=lengths,
        answer_starts=lengths[:-1] + prompt_lengths,
        top_ids=torch.cat(ids),
        top_probs=torch.cat(probs),
    )


def joined(parts: Sequence[Answers]) -> Answers:
    """The texts of all ``parts``, in their order."""
    before = torch.tensor([0, *(len(part.token_ids) for part in parts)]).cumsum(0)
    starts = [part.starts[:-1] + first for part, first in zip(parts, before.tolist(), strict=False)]
    answer_starts = [part.answer_starts + first for part, first in zip(parts, before.tolist(), strict=False)]
    return Answers(
        token_ids=torch.cat([part.token_ids for part in parts]),
        starts=torch.cat([*starts, before[-1:]]),
        answer_starts=torch.cat(answer_starts),
        top_ids=torch.cat([part.top_ids for part in parts]),
        top_probs=torch.cat([part.top_probs for part in parts]),
    )


def choose_prompts(prompts: list[list[int]], count: int, longest: int, seed: int) -> list[list[int]]:
    """``count`` prompts of at most ``longest`` tokens, the same for the same seed; all of them if there are fewer."""
    fitting = [prompt for prompt in prompts if len(prompt) <= longest]
    return random.Random(seed).sample(fitting, min(count, len(fitting)))
