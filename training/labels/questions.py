"""Prompts to label, from JSON lines or from recorded traffic."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from configs.console import read_records
from configs.errors import ConfigError
from decoding.trace import SpeculationTrace
from training.distillation.prompts import order_of, split_of

_FIRST, _SECOND, _ANSWER = "first question", "second question", "an answer"


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt's text, and under which name it was collected: a topic, ``out_of_scope``, or "" where unknown."""

    text: str
    group: str


def read_questions(data: Path, split: str, most: int | None = None) -> list[Question]:
    """Prompts of one split, each once, group after group; which ones are taken depends on nothing but their text.

    Args:
        data: JSON lines with ``prompt`` and, if there are any, ``topic`` and ``split``; or a folder of such files,
            whose names stand for a missing topic. A record without a split falls to that of `polydraft distill`.
        most: prompts of a group.

    Raises:
        ConfigError: there is no such file, a line is no record, or no prompt is left.
    """
    found_in: dict[str, tuple[str, str]] = {}  # text -> split and group
    for file, default in _files(data):
        for record in read_records(file, needed=["prompt"]):
            text = str(record["prompt"])
            here = split_of(text, record), str(record.get("topic") or default)
            if text.strip() and (text not in found_in or here[0] == "validation"):  # twice: rather held out
                found_in[text] = here
    groups: dict[str, list[str]] = {}
    for text, (part, group) in found_in.items():
        if part == split:
            groups.setdefault(group, []).append(text)
    chosen = {group: sorted(texts, key=order_of)[:most] for group, texts in sorted(groups.items())}
    found = [Question(text, group) for group, texts in chosen.items() for text in texts]
    if not found:
        raise ConfigError(f"{data} has no {split} prompts", do="pass JSON lines with prompt, topic and split")
    return found


def _files(data: Path) -> list[tuple[Path, str]]:
    if not data.is_dir():
        return [(data, "")]
    found = sorted(data.glob("*.jsonl"))
    if not found:
        raise ConfigError(f"no *.jsonl in {data}", do="pass a file, or a folder of files, of JSON lines")
    return [(file, file.stem) for file in found]


def traced_questions(
    traces: Iterable[SpeculationTrace], text_of: Callable[[SpeculationTrace], str], most: int | None = None
) -> Iterator[tuple[Question, SpeculationTrace]]:
    """The newest answer to each traced prompt, with its question, newest first; at most so many of a group.

    Args:
        traces: oldest first.
    """
    newest: dict[tuple[int, ...], SpeculationTrace] = {}
    for trace in traces:
        prompt = tuple(trace.token_ids[: trace.prompt_length])
        newest.pop(prompt, None)
        newest[prompt] = trace  # behind all others
    counts: dict[str, int] = {}
    for trace in reversed(newest.values()):
        group = trace.topic or ""
        counts[group] = counts.get(group, 0) + 1
        if most is None or counts[group] <= most:
            yield Question(text_of(trace), group), trace


class PromptText:
    """What the router would have read of a recorded prompt: the last thing that the user said.

    The log holds token ids only. What the chat template puts around a question is found by rendering one; a text that
    it did not render is taken whole, less special tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._before = self._between = self._after = ""
        if tokenizer.chat_template is not None:
            one = self._render([("user", _FIRST)])
            self._before, self._after = one.split(_FIRST)
            three = self._render([("user", _FIRST), ("assistant", _ANSWER), ("user", _SECOND)])
            self._between = three.split(_ANSWER)[1].split(_SECOND)[0]

    def __call__(self, trace: SpeculationTrace) -> str:
        return self.of(trace.token_ids[: trace.prompt_length])

    def of(self, ids: list[int]) -> str:
        """As of a trace, of a prompt's token ids."""
        text = str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        if not self._after or not text.startswith(self._before) or not text.endswith(self._after):
            return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        said = text.removeprefix(self._before).removesuffix(self._after)
        return said.rsplit(self._between, 1)[-1] if self._between else said

    def _render(self, turns: list[tuple[str, str]]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        return str(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
