import time
from pathlib import Path

import pytest

from chamnet_agent.testing import Spent


def later_ns() -> int:
    """Return a time after what was done before, and before what is done next."""
    now_ns = time.monotonic_ns()
    while time.monotonic_ns() == now_ns:
        pass
    return now_ns + 1


def test_what_runs_spent_is_told_by_its_time_however_late_one_looks(tmp_path: Path) -> None:
    spent, seen = Spent(tmp_path / "spent"), Spent(tmp_path / "spent")
    times_ns = [later_ns()]
    for run_uj in (5.0, 7.0):
        spent.add(run_uj)
        times_ns.append(later_ns())
    assert [seen.until_uj(t_ns) for t_ns in times_ns] == [0.0, 5.0, 12.0]
    Spent(tmp_path / "spent").add(1.0)  # another process goes on
    assert seen.until_uj(later_ns()) == 13.0


def test_what_was_spent_too_long_ago_is_not_made_up(tmp_path: Path) -> None:
    spent = Spent(tmp_path / "spent")
    spent.add(1.0)
    first_ns = later_ns()
    for _ in range(1 << 16):
        spent.add(1.0)
    assert spent.until_uj(later_ns()) == (1 << 16) + 1
    with pytest.raises(ValueError, match="were forgotten"):
        spent.until_uj(first_ns - 1_000_000)
