"""Figures of a version: text in its tags, numbers in MLflow's charts.

MLflow groups charts by the text before the last ``/``, and shows a metric as a bar if its last step is 0,
else as a curve: curves are logged from step 1, final figures at step 0.
"""

from collections.abc import Mapping

_METRICS = {
    "alpha": "acceptance/alpha",
    "alpha_t1": "acceptance/alpha_t1",
    "mean_acceptance_length": "acceptance/mean_acceptance_length",
}
_TOKENS, _RUNS = "tokens_per_target_run", "cost/runs_per_1000_tokens"
_POSITIONS = "acceptance_by_position"
FIGURES = frozenset({*_METRICS, _TOKENS, _POSITIONS})  # tags of a version that are figures
GROUPS = ("acceptance", "cost", "gate", "loss", "speed", "calibration", "regret", "scope", "topic")  # of charts
FINAL = "final/"  # before the name of a final figure whose name has a curve


def metrics_of(tags: Mapping[str, str]) -> dict[str, float]:
    """The tags that are figures, under the names of MLflow's chart groups."""
    metrics = {metric: float(tags[tag]) for tag, metric in _METRICS.items() if tag in tags}
    if _TOKENS in tags:
        metrics[_RUNS] = 1000 / float(tags[_TOKENS])
    positions = by_position(tags.get(_POSITIONS, ""))
    metrics.update({f"acceptance/position/{index}": value for index, value in enumerate(positions, start=1)})
    return metrics


def tags_of(figures: Mapping[str, float], positions: tuple[float, ...] = ()) -> dict[str, str]:
    """The tags of a version that hold ``figures``, three decimals each; names as in `FIGURES`."""
    tags = {name: f"{value:.3f}" for name, value in figures.items()}
    return {**tags, _POSITIONS: " ".join(f"{value:.3f}" for value in positions)} if positions else tags


def by_position(text: str) -> list[float]:
    """The tag ``acceptance_by_position``: decimals apart by spaces or commas, as in ``0.88 0.77``."""
    return [float(word) for word in text.strip("[] ").replace(",", " ").split()]
