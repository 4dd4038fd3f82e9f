"""Tokenised examples in batches of similar length, in an order that a seed and an epoch determine."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.starter.corpus import Example

IGNORED = -100
_WIDTHS = 32  # batches are padded to a multiple: tensors of ever new sizes leave the heap in shreds


@dataclass(frozen=True)
class Sample:
    """Token ids of ``<|user|>prompt<|assistant|>response<|end|>`` and where the response begins."""

    token_ids: tuple[int, ...]
    response_start: int


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int) -> list[Sample]:
    """Samples cut to ``max_length`` tokens; those whose prompt alone fills it are left out."""
    prompts = _ids(tokenizer, [f"<|user|>{example.prompt}<|assistant|>" for example in examples])
    answers = _ids(tokenizer, [f"{example.response}<|end|>" for example in examples])
    return [
        Sample(tuple((prompt + answer)[:max_length]), len(prompt))
        for prompt, answer in zip(prompts, answers, strict=True)
        if len(prompt) < max_length
    ]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    # Longer texts than the model's are cut here, so the tokenizer need not warn of them.
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def batches(samples: Sequence[Sample], tokens_per_batch: int, seed: int, epoch: int) -> list[list[Sample]]:
    """One epoch of batches, each of at most ``tokens_per_batch`` padded tokens.

    Samples are shuffled, then sorted inside pools of some twenty batches: little padding, yet every
    batch differs from epoch to epoch.
    """
    order = random.Random(f"{seed}:{epoch}")
    shuffled = list(samples)
    order.shuffle(shuffled)
    result: list[list[Sample]] = []
    for pool in _pools(shuffled, 20 * tokens_per_batch):
        pool.sort(key=lambda sample: len(sample.token_ids))
        result.extend(_filled(pool, tokens_per_batch))
    order.shuffle(result)
    return result


def _pools(samples: Iterable[Sample], tokens: int) -> Iterator[list[Sample]]:
    pool: list[Sample] = []
    held = 0
    for sample in samples:
        pool.append(sample)
        held += len(sample.token_ids)
        if held >= tokens:
            yield pool
            pool, held = [], 0
    if pool:
        yield pool


def _filled(ordered: Iterable[Sample], tokens: int) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in ordered:  # ascending length, so the newest is the widest
        if batch and len(sample.token_ids) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def collate(batch: Sequence[Sample], prompt_loss: bool) -> tuple[Tensor, Tensor]:
    """Right-padded ``token_ids`` and ``labels``, both [rows, width], a multiple of 32; padding and, unless
    ``prompt_loss``, prompt tokens are ignored in the labels."""
    longest = max(len(sample.token_ids) for sample in batch)
    width = -(-longest // _WIDTHS) * _WIDTHS
    token_ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORED)
    for row, sample in enumerate(batch):
        length = len(sample.token_ids)
        token_ids[row, :length] = torch.tensor(sample.token_ids)
        start = 0 if prompt_loss else min(sample.response_start, length)
        labels[row, start:length] = token_ids[row, start:length]
    return token_ids, labels
