import pytest

from registry.figures import FIGURES, by_position, metrics_of, tags_of


@pytest.mark.parametrize("text", ["0.88 0.77", "0.88, 0.77", "[0.88, 0.77]"])
def test_acceptance_by_position_is_read_however_it_is_separated(text: str) -> None:
    """Spaces, commas and brackets are all found in tags."""
    assert by_position(text) == [0.88, 0.77]


def test_metrics_are_named_for_mlflow_s_chart_groups() -> None:
    """Figures become metrics; other tags do not."""
    tags = {"topic": "sql", "alpha": "0.9", "tokens_per_target_run": "4", "acceptance_by_position": "0.9 0.8"}
    assert metrics_of(tags) == {
        "acceptance/alpha": 0.9,
        "cost/runs_per_1000_tokens": 250.0,
        "acceptance/position/1": 0.9,
        "acceptance/position/2": 0.8,
    }
    assert metrics_of({}) == {}


def test_tags_of_figures_are_read_back() -> None:
    """What a job writes into tags is what lists and charts show."""
    tags = tags_of({"alpha": 0.88, "tokens_per_target_run": 4.0}, (0.9, 0.8))
    assert tags.keys() <= FIGURES
    assert metrics_of(tags)["acceptance/position/2"] == 0.8
    assert metrics_of(tags)["cost/runs_per_1000_tokens"] == 250.0
