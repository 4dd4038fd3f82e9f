"""Where the traffic of a search comes from: recorded, answered now, or answers that are on disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from configs.console import read_records
from configs.errors import ConfigError, CorpusError
from router.prompts import FOREIGN
from training.distillation.prompts import encode
from training.labels.questions import PromptText
from training.starter.answers import load_answers
from training.topics.traffic import Asking, Traffic, from_answers, read_log, split, traffic_of

_LONGEST_PROMPT = 384  # tokens; longer ones are left out
_HELD_OUT_OF = 4  # as many training prompts for each that is held out

Told = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """The target whose answers count, and its tokenizer as transformers loads it."""

    target: Path
    fingerprint: str
    tokenizer: PreTrainedTokenizerBase

    @property
    def text_of(self) -> PromptText:
        return PromptText(self.tokenizer)

    def traces(self, folder: Path, most: int) -> tuple[Traffic, Traffic]:
        """The newest recorded answers: to learn from, and held out by prompt.

        Raises:
            ConfigError: there are none.
        """
        return split(read_log(folder, self.text_of, self.fingerprint, most))

    def answers(self, folder: Path) -> tuple[Traffic, Traffic]:
        """What `polydraft starter build` keeps in ``answers``: those of the training split, and of validation.

        Raises:
            ConfigError: the folder holds none.
        """
        found = []
        for part, greedy in (("train", False), ("validation", True)):
            places = sorted((folder / part).glob("*/answers.safetensors"))
            if not places:
                raise ConfigError(f"no answers in {folder / part}", do="pass the answers folder of a starter build")
            answers = {place.parent.name: load_answers(place.parent) for place in places}
            found.append(from_answers(answers, self.text_of, self.fingerprint, greedy))
        return found[0], found[1]

    def data(self, folder: Path, most: int, tokens: int, work: Path, told: Told) -> tuple[Traffic, Traffic]:
        """Prompts of a folder of JSON lines, a file a topic, answered greedily by the target as far as not done yet.

        Args:
            most: training prompts of all topics together; a quarter as many validation prompts.
            tokens: of an answer, at most.
            work: where answers are kept.

        Raises:
            CorpusError: a split is empty.
        """
        files = [file for file in sorted(folder.glob("*.jsonl")) if file.stem != FOREIGN]
        if not files:
            raise ConfigError(f"no JSON lines in {folder}", do="pass --data a folder with one JSONL file a topic")
        asking = self._asking(work, tokens)
        found = []
        for part, count in (("train", most), ("validation", most // _HELD_OUT_OF)):
            prompts = [each for file in files for each in self._prompts(file, part, count // len(files))]
            if not prompts:
                raise CorpusError(f"no {part} prompts in {folder}", do="pass records with prompt and split")
            found.append(traffic_of(asking.answers(prompts, told), self.text_of))
        return found[0], found[1]

    def answered(self, file: Path, most: int, work: Path, told: Told, tokens: int = 160) -> Traffic:
        """Answers to the training prompts of one file.

        Raises:
            CorpusError: it has none.
        """
        prompts = self._prompts(file, "train", most)
        if not prompts:
            raise CorpusError(f"no training prompts in {file}", do="pass records with prompt and split")
        return traffic_of(self._asking(work, tokens).answers(prompts, told), self.text_of)

    def _asking(self, work: Path, tokens: int) -> Asking:
        return Asking(self.target, self.fingerprint, self.tokenizer.eos_token_id, work / "answers", tokens)

    def _prompts(self, file: Path, part: str, count: int) -> list[tuple[str, list[int]]]:
        """Spread evenly over the file, so that no source of a topic is left out."""
        records = list(texts_of(file, part))
        step = max(1, len(records) // max(1, count))
        encoded = (encode(self.tokenizer, text) for text in records[::step])
        return [(file.stem, ids) for ids in encoded if len(ids) <= _LONGEST_PROMPT][:count]


def log_of(source: Source, folder: Path, most: int = 6000) -> Traffic:
    """The newest recorded answers of a target."""
    return read_log(folder, source.text_of, source.fingerprint, most)


def texts_of(file: Path, part: str) -> Iterator[str]:
    """Prompts of one split, each once; records without a split are for training."""
    seen = set()
    for record in read_records(file, needed=["prompt"]):
        text = str(record["prompt"])
        if record.get("split", "train") == part and text not in seen:
            seen.add(text)
            yield text
