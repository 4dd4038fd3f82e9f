"""What a draft step and a wider target run cost on this machine, relative to a target run over one token."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from decoding.model import LanguageModel
from decoding.span import Span


@dataclass(frozen=True, slots=True)
class Costs:
    """Cost ratios at batch 1.

    Attributes:
        target_ms: one target run over one token, milliseconds.
        draft_step: c, one draft step over one target run.
        widths: w(n), a target run over n tokens over a run over one.
    """

    target_ms: float
    draft_step: float
    widths: dict[int, float]

    def predicted_speedup(self, tokens_per_run: float, num_draft_tokens: int) -> float:
        """Tokens a speculative run over its cost: E / (w(k + 1) + c k)."""
        return tokens_per_run / (self.widths[num_draft_tokens + 1] + self.draft_step * num_draft_tokens)


def measure_costs(
    target: LanguageModel, draft: LanguageModel, widths: Sequence[int], context: int = 128, repeats: int = 30
) -> Costs:
    """Measure by interleaved repeats behind ``context`` cached tokens; medians, so a busy moment does little.

    The models' caches need a free slot each; what is written there is dropped again.
    """
    probes: dict[tuple[str, int], list[float]] = {("draft", 1): [], **{("target", n): [] for n in (1, *widths)}}
    models = {"target": target, "draft": draft}
    slots = {name: _filled_slot(model, context) for name, model in models.items()}
    for _ in range(repeats):
        for (name, rows), seconds in probes.items():
            began = perf_counter()
            models[name].forward([Span(slots[name], [1] * rows)])
            seconds.append(perf_counter() - began)
    for name, model in models.items():
        model.cache.release(slots[name])
    one = median(probes["target", 1])
    return Costs(
        target_ms=one * 1e3,
        draft_step=median(probes["draft", 1]) / one,
        widths={n: median(probes["target", n]) / one for n in (1, *widths)},
    )


def _filled_slot(model: LanguageModel, context: int) -> int:
    slot = model.cache.allocate()
    rows = min(context, model.cache.max_length // 2)
    model.forward([Span(slot, [1] * rows, logits_from=rows)])
    model.cache.commit(slot, range(rows))
    return slot
