"""Prompts for `polydraft bench router`, and what every draft costs on their answers; what is paid for is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from benchmarks.misleading import MISLEADING
from benchmarks.prompts import OWN
from configs.console import hint
from configs.errors import ConfigError
from decoding.checkpoint import fingerprint, read_config
from decoding.load import load_draft, load_model
from router.costs import CostTable, Prices
from router.encoder import Embeddings, Encoder
from router.prompts import FOREIGN
from serving.plan import Plan
from training.distillation.prompts import encode
from training.labels.answers import AnswerBook, Asking
from training.labels.job import SLOTS, Setting, score_books
from training.labels.prices import given_prices, measured_prices
from training.labels.questions import Question, read_questions
from training.labels.table import tabulate
from training.replay import Acceptance

_TELL_SECONDS = 10.0


@dataclass(frozen=True)
class Part:
    """Prompts for one purpose, n, and all that is known of them.

    Attributes:
        acceptances: of every draft on every answer, [d][n].
        prompt_tokens: of each prompt, n.
    """

    table: CostTable
    embeddings: Embeddings
    acceptances: list[list[Acceptance]]
    prompt_tokens: list[int]

    def rows(self, index: Sequence[int]) -> "Part":
        """Some of the prompts."""
        accepted = [[each[i] for i in index] for each in self.acceptances]
        return Part(
            self.table.rows(index), self.embeddings[list(index)], accepted, [self.prompt_tokens[i] for i in index]
        )


def questions(source: Path | None, per_topic: int, held_out: int) -> tuple[list[Question], list[Question]]:
    """Prompts to learn from, and held-out ones: the train and validation splits of files, or halves of our own."""
    if source is not None:
        return read_questions(source, "train", per_topic), read_questions(source, "validation", held_out)
    own = {topic: list(texts) for topic, texts in OWN.items()}
    learned = [Question(text, topic) for topic, texts in own.items() for text in texts[0::2][:per_topic]]
    return learned, [Question(text, topic) for topic, texts in own.items() for text in texts[1::2][:held_out]]


def misleading(plan: Plan) -> list[Question]:
    """Our own misleading prompts, as far as their topics have drafts."""
    return [Question(text, topic) for topic, texts in MISLEADING.items() for text in texts if topic in plan.drafts]


def measure(plan: Plan, labels: Path, tokens: int, asked: Sequence[Question], encoder: Encoder) -> Part:
    """Let the target answer greedily and replay every draft; what ``labels`` holds already is not measured again.

    A table of costs in ``labels`` stays as it is: other commands made it.

    Raises:
        ConfigError: a prompt leaves no room for an answer of that length, so that there would be fewer prompts.
    """
    setting = Setting(plan.target, plan.drafts, labels, plan.max_length, max_tokens=tokens, told=_teller())
    tokenizer = setting.tokenizer
    pairs = [(each, encode(tokenizer, each.text)) for each in asked]
    fitting = [(each, ids) for each, ids in pairs if len(ids) + tokens <= plan.max_length]
    if not fitting:
        raise ConfigError("no prompt leaves room for an answer", do="pass shorter prompts, or fewer --tokens")
    ends = frozenset(read_config(plan.target, plan.max_length).eos_token_ids)
    how = Asking(fingerprint(plan.target), ends, setting.temperature, tokens)
    book = AnswerBook(labels / "answers", how, lambda: load_model(plan.target, SLOTS, plan.max_length))
    traces = book.answers([ids for _, ids in fitting], lambda done, of: setting.told("answers", done, of))
    scores: dict[str, list[Acceptance]] = {}
    for name, drafts in score_books(setting).items():
        label = plan.drafts[name].label
        scores[name] = drafts.scores(traces, lambda done, of, label=label: setting.told(label, done, of))  # type: ignore[misc]
    versions = {name: spec.label for name, spec in plan.drafts.items()}
    table = tabulate([each for each, _ in fitting], scores, versions, setting.longest)
    return Part(table, encoder.encode(table.texts), list(scores.values()), [trace.prompt_length for trace in traces])


def prices_of(plan: Plan, longest: int, c: float | None, w: Sequence[float] | None) -> Prices:
    """Given prices, or those of this machine now, at batch 1."""
    if c is not None and w is not None:
        return given_prices(c, w, len(plan.drafts), longest)
    models = {name: load_draft(spec.folder, 8, plan.max_length) for name, spec in plan.drafts.items()}
    return measured_prices(load_model(plan.target, 8, plan.max_length), models, longest)


def parts_of(whole: Part, sizes: Sequence[Sequence[Question]]) -> list[Part]:
    """The prompts of each list, in its order; prompts that were left out, and answers of one token, are in none.

    One token is what the target says anyway: nobody drafts for it.
    """
    rows = {text: row for row, text in enumerate(whole.table.texts)}
    said = np.asarray(whole.table.tokens > 1)
    found = [[rows[each.text] for each in some if each.text in rows and said[rows[each.text]]] for some in sizes]
    return [whole.rows(index) for index in found]


def groups_of(part: Part, drafts: Sequence[str]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Flags of the prompts [n] of all topics with a draft, of each, and of foreign prompts."""
    names = np.array(part.table.groups)
    found = {name: names == name for name in (*drafts, FOREIGN) if (names == name).any()}
    return {"all": np.isin(names, list(drafts)), **found}


def _teller() -> Callable[[str, int, int], None]:
    said = {"at": monotonic()}

    def told(what: str, done: int, of: int) -> None:
        if monotonic() - said["at"] > _TELL_SECONDS:
            said["at"] = monotonic()
            hint(f"{what}: {done:,} of {of:,}")

    return told
