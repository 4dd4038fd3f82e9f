"""Measured costs of earlier start-ups: used again while machine, kernel and shapes of the models stay the same."""

import hashlib
import json
import logging
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from decoding.costs import StepCosts, measure_costs, seconds_for_rows
from decoding.model import LanguageModel
from decoding.native.build import processor, source_digest

logger = logging.getLogger(__name__)

_TOLERANCE = 1.3  # of a quick look: what was measured on a busy machine must not last


def stored_or_measured(target: LanguageModel, draft: LanguageModel, folder: Path) -> tuple[StepCosts, float]:
    """`measure_costs`, unless ``folder`` has the costs of this machine and such models and a quick look confirms them.

    What is damaged, or cannot be written, does no harm: it is measured anew.
    """
    file = folder / f"costs-{_key(target, draft)}.json"
    found = _read(file)
    if found is not None and _still_holds(target, found[0]):
        return found
    costs, milliseconds = measure_costs(target, draft)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as temporary:
            json.dump({**asdict(costs), "milliseconds": milliseconds}, temporary)
        Path(temporary.name).replace(file)
    except OSError as error:
        logger.warning("cannot keep the measured costs for the next start: %s", error)
    return costs, milliseconds


def _key(target: LanguageModel, draft: LanguageModel) -> str:
    """What times depend on; the values of the weights are no part of it, their shapes and stored size are."""
    models = [
        (type(model).__name__, asdict(model.config), model.num_weight_bytes, len(model.cache.lengths))
        for model in (target, draft)
    ]
    parts = [processor(), torch.get_num_threads(), torch.__version__, source_digest(), models, target.cache.max_length]
    if target.cache.keys.is_cuda:
        parts += [torch.cuda.get_device_name(target.cache.keys.device), str(target.cache.keys.dtype)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def _read(file: Path) -> tuple[StepCosts, float] | None:
    try:
        document = json.loads(file.read_text())
        target, draft = _counts(document["target"]), _counts(document["draft"])
        others = [float(document[name]) for name in ("attention_per_token", "milliseconds")]
        context = int(document["context"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    figures = [*target.values(), *draft.values(), *others]
    if target.get(1) != 1 or 1 not in draft or context < 1 or not all(0 <= figure < math.inf for figure in figures):
        return None
    return StepCosts(target, draft, others[0], context), others[1]


def _counts(document: dict[str, Any]) -> dict[int, float]:
    return {int(count): float(cost) for count, cost in document.items()}


def _still_holds(target: LanguageModel, costs: StepCosts) -> bool:
    """Whether some rows still take as many times as long as one."""
    some = min(8, max(costs.target))
    took = seconds_for_rows(target, [1, some])
    return 1 / _TOLERANCE < took[some] / took[1] / costs.target_run(some) < _TOLERANCE
