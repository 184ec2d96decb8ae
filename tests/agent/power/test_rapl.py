from pathlib import Path

from chamnet_agent.power.rapl import RaplMeter


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    component = RaplMeter.describe(tmp_path)
    assert component.name == "rapl"
    assert "no intel-rapl counters" in (component.why_not or "")


def test_counters_that_can_be_read_are_usable(tmp_path: Path) -> None:
    package = tmp_path / "sys/class/powercap/intel-rapl:0"
    package.mkdir(parents=True)
    (package / "energy_uj").write_text("123\n")
    assert RaplMeter.describe(tmp_path).why_not is None
