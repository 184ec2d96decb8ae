"""The table of faults is backed by tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_names_a_test_that_there_is() -> None:
    table = [line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith("| ")][2:]
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = set(re.findall(r"def (test_\w+)", "\n".join(sources)))
    assert len(table) > 30
    for line in table:
        named = re.findall(r"`(test_\w+)`", line)
        files = re.findall(r"`(tests/\S+\.py)`", line)
        assert named or files, line
        assert set(named) <= known, line
        assert all((ROOT / file).is_file() for file in files), line
