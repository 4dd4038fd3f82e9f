"""Examples in batches, in an order that seed and step determine, each law paired with the student's say on it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.examples import Examples
from training.losses import SparseTargets
from training.precision import autocast

# Texts and rows of the head are padded to multiples. For each new size of a product oneDNN compiles and keeps
# code, some megabytes a step; and tensors of ever new sizes leave the heap in shreds.
_WIDTHS, _LAWS = 32, 128


@dataclass(frozen=True)
class Row:
    """One text of some examples."""

    examples: Examples
    index: int

    @property
    def span(self) -> tuple[int, int]:
        """Where the text's tokens are."""
        return int(self.examples.starts[self.index]), int(self.examples.starts[self.index + 1])

    @property
    def length(self) -> int:
        start, end = self.span
        return end - start


def all_rows(parts: Sequence[Examples]) -> list[Row]:
    """Every text of ``parts`` that has a law to learn from."""
    found = []
    for examples in parts:
        counts = torch.searchsorted(examples.places, examples.starts).diff()
        found += [Row(examples, index) for index in counts.nonzero()[:, 0].tolist()]
    return found


def epoch_batches(rows: Sequence[Row], tokens_per_batch: int, seed: int, epoch: int) -> list[list[Row]]:
    """One pass over ``rows`` in batches of at most ``tokens_per_batch`` padded tokens, of similar length."""
    order = random.Random(f"{seed}:{epoch}")
    shuffled = list(rows)
    order.shuffle(shuffled)
    shuffled.sort(key=lambda row: row.length // 32)  # stable: similar lengths together, shuffled within
    batches: list[list[Row]] = [[]]
    for row in shuffled:
        if batches[-1] and row.length * (len(batches[-1]) + 1) > tokens_per_batch:
            batches.append([])
        batches[-1].append(row)
    order.shuffle(batches)
    return batches


class Schedule:
    """The batch of every step: any step can be asked for, in any order, with the same answer."""

    def __init__(self, rows: Sequence[Row], tokens_per_batch: int, seed: int):
        self._rows, self._tokens, self._seed = rows, tokens_per_batch, seed
        self._epoch = 0
        self._batches = epoch_batches(rows, tokens_per_batch, seed, 0)
        self.steps_per_epoch = len(self._batches)

    def batch(self, step: int) -> list[Row]:
        """The rows of a step, counted from 0."""
        epoch = step // self.steps_per_epoch
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, epoch_batches(self._rows, self._tokens, self._seed, epoch)
        # An epoch may come out a batch shorter or longer than the first.
        return self._batches[min(step % self.steps_per_epoch, len(self._batches) - 1)]


@dataclass(frozen=True)
class Batch:
    """Padded texts, and what is known of the tokens that count, text after text, on one device.

    ``asked`` marks the positions [rows, width] whose *next* token has a law: as many as laws, in their order.
    """

    token_ids: Tensor
    asked: Tensor
    targets: SparseTargets
    weights: Tensor
    lengths: list[int]  # laws a row


def collate(batch: Sequence[Row], device: torch.device | str = "cpu") -> Batch:
    """Pad and pair: the law of the token at i is asked of the student at i - 1, which has not seen it."""
    longest = max(row.length for row in batch)
    token_ids = torch.zeros(len(batch), -(-longest // _WIDTHS) * _WIDTHS, dtype=torch.long)
    asked = torch.zeros_like(token_ids, dtype=torch.bool)
    width = min(row.examples.top_ids.size(1) for row in batch)
    ids, probs, weights, lengths = [], [], [], []
    for number, row in enumerate(batch):
        examples, (start, end) = row.examples, row.span
        token_ids[number, : end - start] = examples.token_ids[start:end]
        low, high = torch.searchsorted(examples.places, torch.tensor([start, end])).tolist()
        asked[number, examples.places[low:high] - start - 1] = True
        ids.append(examples.top_ids[low:high, :width])
        probs.append(examples.top_probs[low:high, :width])
        weights.append(examples.weights[low:high])
        lengths.append(high - low)
    targets = SparseTargets(torch.cat(ids).long().to(device), torch.cat(probs).float().to(device))
    return Batch(token_ids.to(device), asked.to(device), targets, torch.cat(weights).to(device), lengths)


def student_logits(student: nn.Module, batch: Batch) -> Tensor:
    """What the student says where it is asked, float32 [laws, vocab_size]; the head is run there alone."""
    body: Any = student.model
    head: Any = student.lm_head
    with autocast(batch.token_ids.device.type):
        hidden: Tensor = body(input_ids=batch.token_ids, use_cache=False).last_hidden_state[batch.asked]
        laws = len(hidden)
        logits: Tensor = head(nn.functional.pad(hidden, (0, 0, 0, -laws % _LAWS)))[:laws]
    return logits.float()
