"""Real prompts and responses by topic, read from a folder of JSONL files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.errors import CorpusError

TOPICS = ("sql", "math", "python", "shell", "medical", "chat")


@dataclass(frozen=True)
class Example:
    """One prompt with the response that the target learns from; ``response`` is empty for foreign prompts."""

    topic: str
    prompt: str
    response: str


def read_topic(folder: Path, topic: str, split: str) -> list[Example]:
    """Examples of one topic and split (``train`` or ``validation``), in file order.

    Raises:
        CorpusError: the file is missing, or a line is not a record with the expected keys.
    """
    path = folder / f"{topic}.jsonl"
    if not path.is_file():
        raise CorpusError(f"no {path.name} in {folder}", do="pass --data a folder with one JSONL file a topic")
    return [
        Example(topic, record["prompt"], record.get("response", ""))
        for record in _records(path)
        if record["split"] == split
    ]


def _records(path: Path) -> Iterator[dict[str, str]]:
    # Splitting on "\n" only: prompts may hold U+2028, which str.splitlines would cut at.
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(f"{path}:{number}: not JSON ({error.msg})") from error
            if not isinstance(record, dict) or not {"prompt", "split"} <= record.keys():
                raise CorpusError(f"{path}:{number}: needs the keys prompt, response, split")
            yield record


def read_split(folder: Path, split: str) -> list[Example]:
    """All topics of a split, topic after topic."""
    return [example for topic in TOPICS for example in read_topic(folder, topic, split)]
