"""Prompts of a topic from JSON lines, encoded as serving does, split so that no held-out prompt is learned."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from configs.console import read_records
from configs.errors import CorpusError
from drafts.pool import GENERAL
from training.distillation.sequences import Prompt

_PERCENT = 10  # of prompts, for development; and as many for validation where the data have no split
MOST_HELD_OUT = 80


@dataclass(frozen=True)
class Prompts:
    """What a data file holds, for one topic; no prompt is in two of them, or twice.

    Attributes:
        train: to learn from.
        development: part of the training split; says when to stop and which weights to keep.
        validation: looked at once, when all is decided: its figures are the ones to report.
        others: training records of other topics, which some presets read as text.
    """

    train: list[Prompt]
    development: list[Prompt]
    validation: list[Prompt]
    others: list[Prompt]


def read_prompts(
    file: Path, topic: str, tokenizer: PreTrainedTokenizerBase, longest: int, limit: int | None = None
) -> Prompts:
    """Records with ``prompt`` and, if there are any, ``response``, ``topic`` and ``split``.

    A record without a topic is of the topic in question; for the general draft every record counts. Without
    ``split``, one prompt in ten is for validation; records of any split but ``train`` and ``validation`` are left
    alone. Which prompts are taken depends on nothing but their text.

    Args:
        longest: prompts of more tokens are left out.
        limit: training prompts of a topic, at most; a fifth of it held out.

    Raises:
        CorpusError: nothing is left to learn from or to measure on.
        ConfigError: the file is missing or a line is no record.
    """
    records: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for record in read_records(file, needed=["prompt"]):
        text = str(record["prompt"])
        kind = _kind(text, record, topic)
        if kind and (text not in records or kind == "validation"):  # twice: rather held out than learned
            records[text] = kind, record
    held_out = MOST_HELD_OUT if limit is None else max(4, limit // 5)
    most = {"train": limit, "development": held_out, "validation": held_out, "others": limit}
    found: dict[str, list[Prompt]] = {kind: [] for kind in most}
    for text in sorted(records, key=order_of):
        kind, kept = records[text]
        if len(found[kind]) == most[kind]:
            continue
        prompt = Prompt(encode(tokenizer, text), _response(tokenizer, kept))
        if len(prompt.token_ids) <= longest:
            found[kind].append(prompt)
    for kind in ("train", "development", "validation"):
        if not found[kind]:
            raise CorpusError(
                f"{file} has no {topic} prompts for {kind}",
                do="pass more records, each with prompt and, where other topics are among them, topic",
            )
    return Prompts(**found)


def _kind(text: str, record: Mapping[str, Any], topic: str) -> str:
    """Which of `Prompts` a record belongs to; none for splits and topics that are nobody's business."""
    split = split_of(text, record)
    if split not in ("train", "validation"):
        return ""
    if topic != GENERAL and record.get("topic", topic) != topic:
        return "others" if split == "train" else ""
    return "development" if split == "train" and order_of(text) % 100 < _PERCENT else split


def split_of(text: str, record: Mapping[str, Any]) -> str:
    """The split of a record; where it names none, one prompt in ten is for validation."""
    return str(record.get("split") or ("validation" if order_of(text) % 100 >= 100 - _PERCENT else "train"))


def order_of(text: str) -> int:
    """Where a prompt stands among others, from its text alone: the first of this order are taken."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a question in the target's chat format; plain text where it has none."""
    if tokenizer.chat_template is None:
        ids: list[int] = tokenizer(text)["input_ids"]
        return ids
    messages = [{"role": "user", "content": text}]
    chat: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return chat


def digest(prompts: Sequence[Prompt]) -> str:
    """Of prompts and responses, in order."""
    whole = hashlib.sha256()
    for prompt in prompts:
        whole.update(repr((prompt.token_ids, prompt.response)).encode())
    return whole.hexdigest()[:16]


def _response(tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any]) -> list[int] | None:
    if not record.get("response"):
        return None
    ids: list[int] = tokenizer(str(record["response"]), add_special_tokens=False, verbose=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]
