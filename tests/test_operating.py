"""docs/operate.md names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "operate.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| fault")
]


def test_every_row_of_the_fault_table_names_a_test_that_exists():
    """The one of test_faults.py, or that of the file which it names."""
    assert len(TABLE) >= 14
    named = []
    for row in TABLE:
        words = re.findall(r"`(\w+(?:\.py)?)`", row[-1])
        [file] = [word for word in words if word.endswith(".py")] or ["test_faults.py"]
        tests = [word for word in words if not word.endswith(".py")]
        text = (ROOT / "tests" / "e2e" / file).read_text()
        assert all(f"def test_{test}(" in text for test in tests), row
        named += tests
    # "the same" repeats the row above; every test of the file has a row.
    there = re.findall(r"def test_(\w+)\(", (ROOT / "tests" / "e2e" / "test_faults.py").read_text())
    assert set(there) <= set(named)
