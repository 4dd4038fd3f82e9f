"""The recipe's data from the Hugging Face hub, for whoever is online; needs the ``hub`` extra (datasets)."""

import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import CorpusError


@dataclass(frozen=True)
class HubSet:
    """One dataset on the hub and which of its columns are prompt and response."""

    topic: str
    name: str
    prompt: str
    response: str
    config: str | None = None


SETS = (
    HubSet("sql", "xlangai/spider", "question", "query"),
    HubSet("math", "openai/gsm8k", "question", "answer", config="main"),
    HubSet("python", "google-research-datasets/mbpp", "text", "code"),
    HubSet("medical", "lavita/MedQuAD", "question", "answer"),
    HubSet("shell", "jiacheng-ye/nl2bash", "nl", "bash"),
    HubSet("chat", "tatsu-lab/alpaca", "instruction", "output"),
    HubSet("out_of_scope", "clinc/clinc_oos", "text", "", config="plus"),
)
_CALCULATOR_MARKS = re.compile(r"<<[^>]*>>")


def download(folder: Path, validation_share: float = 0.05) -> Path:
    """Write one JSONL file a topic into ``folder``, split by prompt; files that are there are kept.

    The sets on the hub are near those of the shipped starter, not the same: figures will differ.

    Raises:
        CorpusError: the ``datasets`` package or a dataset is not to be had.
    """
    try:
        import datasets
    except ImportError:
        raise CorpusError(
            "the hub needs the package datasets", do="pip install 'polydraft[hub]', or pass --data"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    for entry in SETS:
        path = folder / f"{entry.topic}.jsonl"
        if path.is_file():
            continue
        try:
            rows = datasets.load_dataset(entry.name, entry.config, split="train")
        except (OSError, ValueError) as error:
            raise CorpusError(f"dataset {entry.name} cannot be read", facts=(str(error),), do="pass --data") from error
        lines = [json.dumps(record, ensure_ascii=False) for record in records(entry, rows, validation_share)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def records(entry: HubSet, rows: Iterable[dict[str, Any]], validation_share: float) -> Iterator[dict[str, str]]:
    """Rows of a dataset as training records; a prompt met before is left out, empty ones too."""
    seen: set[str] = set()
    for row in rows:
        prompt = str(row[entry.prompt]).strip()
        response = _CALCULATOR_MARKS.sub("", str(row[entry.response])).strip() if entry.response else ""
        if not prompt or prompt in seen or (entry.response and not response):
            continue
        seen.add(prompt)
        split = "validation" if random.Random(prompt).random() < validation_share else "train"
        yield {"topic": entry.topic, "source": entry.name, "prompt": prompt, "response": response, "split": split}
