"""Prompts from recorded traffic, under the topic that serving gave them or that of the draft that was measured best."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from configs.errors import ConfigError
from decoding.trace_reader import TraceReader
from router.decision import GENERAL
from training.labels.questions import PromptText, traced_questions
from training.routing.prompts import Labelled
from training.routing.retrain import Labels

_LEAST_GAIN = 0.02  # of the general draft's cost; drafts that are closer do not say which topic a prompt is of


def traced_prompts(folder: Path, target: Path, fingerprint: str, labels: Labels | None = None) -> list[Labelled]:
    """The different prompts of a trace log.

    What serving routed is what the router believes already; where ``labels`` know what an answer costs, the draft that
    was clearly the cheapest counts instead. Prompts of no known topic are left out.

    Args:
        target: folder of the model whose tokenizer wrote the log.
        fingerprint: of its weights; answers of other targets are left out.

    Raises:
        ConfigError: there is nothing of this target in the folder.
    """
    text_of = PromptText(AutoTokenizer.from_pretrained(target))
    best = {} if labels is None else best_topics(labels)
    found = [
        Labelled(question.text, group)
        for question, _ in traced_questions(TraceReader(folder, target=fingerprint), text_of)
        if (group := best.get(question.text, question.group))
    ]
    if not found:
        raise ConfigError(f"{folder} has no routed prompts of this deployment's target", do="pass --data FILE")
    return found


def best_topics(labels: Labels) -> Mapping[str, str]:
    """Text -> topic whose draft was cheapest by a clear margin over the general one; "" where none was."""
    table = labels.table
    costs = table.costs(labels.prices)
    known = table.scored.all(axis=1)
    cheapest = np.where(known, np.nan_to_num(costs, nan=np.inf).argmin(axis=1), -1)
    general = table.drafts.index(GENERAL) if GENERAL in table.drafts else None
    result = {}
    for row in np.flatnonzero(known):
        name, cost = table.drafts[cheapest[row]], costs[row, cheapest[row]]
        is_clear = name != GENERAL and (general is None or cost < (1 - _LEAST_GAIN) * costs[row, general])
        result[table.texts[row]] = name if is_clear else ""
    return result
