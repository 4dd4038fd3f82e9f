"""`polydraft router label`: what every draft costs on the target's answers; killed, it goes on where it was."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from configs.errors import ConfigError
from decoding.checkpoint import fingerprint, read_config
from decoding.load import load_draft, load_model
from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from drafts.pool import DraftSpec
from router.costs import CostTable
from training.distillation.prompts import encode
from training.labels.answers import AnswerBook, Asking
from training.labels.questions import PromptText, Question, traced_questions
from training.labels.scores import ScoreBook
from training.labels.table import LONGEST, tabulate
from training.replay import Acceptance

logger = logging.getLogger(__name__)

SLOTS = 16
Told = Callable[[str, int, int], None]  # what, done, in all


@dataclass(frozen=True)
class Setting:
    """What is measured, and where it is kept.

    Attributes:
        target: its folder.
        drafts: by name; all are checked to fit the target.
        output: gets the table, and answers and acceptances beside it.
    """

    target: Path
    drafts: dict[str, DraftSpec]
    output: Path
    max_length: int = 1024
    temperature: float = 0.0
    max_tokens: int = 128
    longest: int = LONGEST
    told: Told = lambda *_: None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.target)
        return tokenizer


@dataclass(frozen=True)
class Labels:
    """What came of it.

    Attributes:
        asked: prompts that the target answered now.
        replayed: answers that each draft was replayed on now.
        left_out: prompts that are too long, and without a place in the table.
        traces: the answers, in the table's order.
        scores: of each draft on each of them.
    """

    table: CostTable
    traces: Sequence[SpeculationTrace]
    scores: Mapping[str, Sequence[Acceptance]]
    replayed: Mapping[str, int]
    asked: int = 0
    left_out: int = 0


def label_questions(setting: Setting, questions: Sequence[Question]) -> Labels:
    """Let the target answer, replay every draft, keep the table in ``setting.output``.

    Raises:
        ConfigError: no prompt fits.
    """
    tokenizer = setting.tokenizer
    prompts = [(each, encode(tokenizer, each.text)) for each in questions]
    fitting = [(each, ids) for each, ids in prompts if len(ids) + setting.max_tokens <= setting.max_length]
    if not fitting:
        raise ConfigError("no prompt leaves room for an answer", do="pass shorter prompts, or fewer --tokens")
    how = Asking(
        fingerprint(setting.target),
        frozenset(read_config(setting.target, setting.max_length).eos_token_ids),
        setting.temperature,
        setting.max_tokens,
    )
    book = AnswerBook(setting.output / "answers", how, lambda: load_model(setting.target, SLOTS, setting.max_length))
    traces = book.answers([ids for _, ids in fitting], lambda done, of: setting.told("answers", done, of))
    found = _scored(setting, [each for each, _ in fitting], traces)
    return replace(found, asked=book.num_asked, left_out=len(prompts) - len(fitting))


def label_traces(setting: Setting, folder: Path, most: int | None = None) -> Labels:
    """Replay every draft on recorded answers of the target; the newest answer to each prompt counts.

    Args:
        most: prompts of a topic, the newest ones.

    Raises:
        ConfigError: the folder has no such answers.
    """
    found = exact_traces(folder, fingerprint(setting.target), setting.max_length)
    pairs = list(traced_questions(found, PromptText(setting.tokenizer), most))
    if not pairs:
        raise ConfigError(
            f"{folder} has no traces of this deployment's target",
            do="serve with traces.enabled: true and send requests, or pass another --traces DIR",
        )
    return _scored(setting, [each for each, _ in pairs], [trace for _, trace in pairs])


def exact_traces(folder: Path, target: str, longest: int) -> list[SpeculationTrace]:
    """Traces of the target, oldest first, that can be replayed and are no longer than that."""
    found = TraceReader(folder, target=target)
    return [each for each in found if each.sampling.lossy is None and len(each.token_ids) <= longest]


def score_books(setting: Setting) -> dict[str, ScoreBook]:
    """The book of each draft."""
    folder = setting.output / "acceptances"
    return {
        name: ScoreBook(folder, fingerprint(spec.folder), partial(load_draft, spec.folder, SLOTS, setting.max_length))
        for name, spec in setting.drafts.items()
    }


def _scored(setting: Setting, questions: Sequence[Question], traces: Sequence[SpeculationTrace]) -> Labels:
    """The table is kept."""
    scores: dict[str, list[Acceptance]] = {}
    replayed: dict[str, int] = {}
    for name, book in score_books(setting).items():
        label = setting.drafts[name].label
        scores[name] = book.scores(traces, lambda done, of, label=label: setting.told(label, done, of))  # type: ignore[misc]
        replayed[name] = book.num_replayed
    versions = {name: spec.label for name, spec in setting.drafts.items()}
    table = tabulate(questions, scores, versions, setting.longest)
    setting.output.mkdir(parents=True, exist_ok=True)
    table.save(setting.output)
    return Labels(table, traces, scores, replayed)
