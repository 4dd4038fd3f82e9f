import json
from datetime import UTC, datetime
from pathlib import Path

from registry.comparison import compare, comparison_lines
from registry.records import RunRecord
from registry.version import Version


def _version(number: int, **tags: str) -> Version:
    return Version("starter-draft-sql", number, (), Path("/x"), {"topic": "sql", **tags}, "r", datetime.now(UTC))


def _run(rate: str, digest: str, **figures: float) -> RunRecord:
    return RunRecord(
        "sql", "FINISHED", {"rate": rate, "seed": "1"}, figures, {"git": "abc"}, {"traces (train)": digest}
    )


def _document() -> dict[str, object]:
    one = _version(8, alpha="0.880", parent_version="7", target="t", verdict="promoted", verdict_reason="better")
    two = _version(9, alpha="0.888", tokens_per_target_run="4", parent_version="8", target="t", content="c")
    runs = (
        _run("0.1", "9c1f", **{"loss/validation": 0.2, "acceptance/alpha": 0.1, "system/load": 3.0}),
        _run("0.2", "9c1f", **{"loss/validation": 0.1}),
    )
    return compare(one, two, runs)


def test_figures_stand_side_by_side_with_their_difference() -> None:
    """From tags, which win over the last point of a curve, and from the runs; what one lacks has no difference."""
    document = _document()
    rows = {row["figure"]: (row["first"], row["second"], row["difference"]) for row in document["figures"]}
    assert rows.keys() == {"acceptance/alpha", "cost/runs_per_1000_tokens", "loss/validation"}
    assert rows["acceptance/alpha"][:2] == (0.88, 0.888)
    assert abs(rows["acceptance/alpha"][2] - 0.008) < 1e-9
    assert rows["cost/runs_per_1000_tokens"] == (None, 250.0, None)
    json.dumps(document)


def test_what_else_differs_is_named_and_the_rest_is_not() -> None:
    """Parent and configuration differ; target, seed, data and revision do not."""
    document = _document()
    differs = {row["what"]: (row["first"], row["second"]) for row in document["differs"]}
    assert differs == {"parent_version": ("7", "8"), "config: rate": ("0.1", "0.2")}
    assert document["verdicts"] == ["promoted: better", None]


def test_people_see_the_same() -> None:
    """A line a figure, then verdict and differences."""
    header, lines = comparison_lines(_document())
    assert header == ["figure", "sql@v8", "sql@v9", "difference"]
    assert lines[0] == ["acceptance/alpha", "0.88", "0.888", "+0.008"]
    assert ["parent_version", "7", "8", ""] in lines


def test_a_version_without_a_run_can_be_compared() -> None:
    """Runs may have been deleted."""
    document = compare(_version(1, alpha="0.5"), _version(2, alpha="0.5"), (None, None))
    assert [row["difference"] for row in document["figures"]] == [0.0]
    assert document["differs"] == []
