import json
from datetime import UTC, datetime
from pathlib import Path

from registry.comparison import compare, comparison_lines
from registry.records import RunRecord
from registry.version import Version


def _version(number: int, **tags: str) -> Version:
    return Version("starter-draft-sql", number, (), Path("/x"), {"topic": "sql", **tags}, "r", datetime.now(UTC))


def _run(rate: str, held_out: str, **figures: float) -> RunRecord:
    data = {"traces (train)": "9c1f", "traces (validation)": held_out}
    return RunRecord("sql", "FINISHED", {"rate": rate, "seed": "1"}, figures, {"git": "abc"}, data)


def _document() -> dict[str, object]:
    one = _version(8, alpha="0.880", parent_version="7", target="t", verdict="promoted", verdict_reason="better")
    two = _version(9, alpha="0.888", tokens_per_target_run="4", parent_version="8", target="t", content="c")
    runs = (
        _run(
            "0.1",
            "9c1f",
            **{"loss/validation": 9.0, "final/loss/validation": 0.2, "acceptance/alpha": 0.1, "system/load": 3.0},
        ),
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
    assert rows["loss/validation"][:2] == (0.2, 0.1)
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


def test_figures_of_different_text_are_not_passed_off_as_comparable() -> None:
    """Same digests of the held-out data, or it says no; also where nothing is known."""
    one, two = _version(1), _version(2)
    assert compare(one, two, (_run("1", "a"), _run("1", "a")))["same_held_out_text"]
    assert not compare(one, two, (_run("1", "a"), _run("1", "b")))["same_held_out_text"]
    assert not compare(one, two, (None, None))["same_held_out_text"]
    starter = RunRecord("sql", "FINISHED", {}, {}, {}, {})
    document = compare(one, two, (starter, _run("1", "a")))
    assert not any(row["what"].startswith("config") for row in document["differs"])
