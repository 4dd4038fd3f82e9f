"""Drafts whose head covers only some of the vocabulary.

A draft of one topic seldom needs rare tokens, and its head is most of its cost. What it never proposes has draft
probability zero, which every verification rule allows: answers stay the target's. FR-Spec (Zhao et al. 2025) and
EAGLE-3 (Li et al. 2025) trim heads in this way.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import CheckpointError

FILE = "output_vocabulary.json"


def read_output_vocabulary(folder: Path, vocab_size: int) -> tuple[int, ...] | None:
    """The token ids that the model of ``folder`` may emit, ascending; None, without such a file, for all of them.

    Raises:
        CheckpointError: the file is not such a list.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        token_ids = json.loads(path.read_text(encoding="utf-8"))["token_ids"]
        good = all(type(each) is int for each in token_ids) and token_ids == sorted({*token_ids})
        good = good and token_ids[0] >= 0 and token_ids[-1] < vocab_size
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise CheckpointError(f"{path} cannot be read", "make the draft again", (str(error),)) from error
    if not good:
        raise CheckpointError(f"{path} is no ascending list of token ids below {vocab_size}", "make the draft again")
    return tuple(token_ids)


def write_output_vocabulary(folder: Path, token_ids: Sequence[int]) -> None:
    """Let the model of ``folder`` emit nothing but ``token_ids``."""
    (folder / FILE).write_text(json.dumps({"token_ids": sorted(token_ids)}) + "\n")


def widen(logits: Tensor, token_ids: Tensor, vocab_size: int) -> Tensor:
    """Logits [rows, len(token_ids)] as [rows, vocab_size], minus infinity for what cannot be emitted."""
    wide = logits.new_full((len(logits), vocab_size), -torch.inf)
    wide[:, token_ids] = logits
    return wide
