"""Figures of a version: text in its tags, numbers in MLflow's charts."""

from collections.abc import Mapping

_METRICS = {"alpha": "acceptance/alpha", "tokens_per_target_run": "acceptance/mean_acceptance_length"}


def metrics_of(tags: Mapping[str, str]) -> dict[str, float]:
    """The tags that are figures, under the names of MLflow's chart groups."""
    metrics = {metric: float(tags[tag]) for tag, metric in _METRICS.items() if tag in tags}
    positions = by_position(tags.get("acceptance_by_position", ""))
    metrics.update({f"acceptance/position/{index}": value for index, value in enumerate(positions, start=1)})
    return metrics


def by_position(text: str) -> list[float]:
    """The tag ``acceptance_by_position``: decimals apart by spaces or commas, as in ``0.88 0.77``."""
    return [float(word) for word in text.strip("[] ").replace(",", " ").split()]
