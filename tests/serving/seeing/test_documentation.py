"""docs/seeing.md says what the code says."""

from pathlib import Path

from serving.seeing.catalogue import CATALOGUE

PAGE = Path(__file__).parents[3] / "docs" / "seeing.md"


def test_the_table_of_metrics_is_the_catalogue() -> None:
    """Name, type, labels and meaning of each, in the same order."""
    rows = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| `polydraft_")]
    wanted = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.meaning} |"
        for each in CATALOGUE
    ]
    assert rows == wanted
