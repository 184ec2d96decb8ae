"""The command line on a store whose energies were measured: of a device that does not exist."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_energy as synthetic

from chamnet.lut import Store
from chamnet.records import Visit
from chamnet.testing import make_platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SPACE = ("--space", synthetic.TINY)
Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metered")
    synthetic.write_store(folder / "chamnet.db")
    return folder


def test_energy_is_built_shown_searched_and_predicted(ask: Ask, cli: Run, metered: Path) -> None:
    built = ask("energy", "build", "--next", "3", *SPACE, cwd=metered)
    assert (built["below_noise"], len(built["next"])) == (0, 3)
    assert [meter["meter"] for meter in built["meters"]] == ["fake"]
    assert built["idle_w"] == pytest.approx(synthetic.IDLE_W, rel=0.02)
    assert set(built["errors"]) == {"lut", "network-gp", "residual-gp"}
    assert max(built["errors"].values()) < 0.05

    best = ask("search", "--budget", "20ms,35mJ", *SPACE, cwd=metered)["best"]
    assert best["budgets"] == {"latency_ms": 20.0, "energy_mj": 35.0}
    assert 0 < best["predicted"]["energy_mj"]["value"] <= 35.0
    assert best["reachable"]["energy_mj"]["lowest"] < best["reachable"]["energy_mj"]["highest"] < 35.0
    tight = ask("search", "--budget", "9ms,16mJ", *SPACE, cwd=metered)["best"]
    energy = tight["predicted"]["energy_mj"]
    assert energy["low"] < energy["value"] <= 16.0
    assert energy["value"] == pytest.approx(tight["energy_correction"]["needed_mj"])
    assert sum(energy["coverage"].values()) == pytest.approx(1.0)

    shown = cli("predict", "best", *SPACE, cwd=metered).stdout
    assert f"{energy['value']:.3f} mJ, 90 %" in shown
    assert "% idle" in shown
    assert (
        "does not add up, so nothing is proven" in cli("search", "-b", "9ms,16mJ", *SPACE, cwd=metered).stdout
    )


def test_an_answer_is_put_beside_published_networks_with_their_energies(cli: Run, metered: Path) -> None:
    shown = cli("compare", "-b", "20ms,16mJ", *SPACE, cwd=metered).stdout
    assert "within 20.00 ms and 16.00 mJ" in shown
    assert "mobilenet-v2-0.5-96" in shown
    assert "mnasnet-a1-96" not in shown, "it keeps 20 ms, and needs more energy"
    assert "need more time or energy" in shown


def test_a_meter_without_energy_is_refused_where_networks_are_verified(cli: Run, metered: Path) -> None:
    done = cli("verify", "best", "--meter", "rapl", *SPACE, cwd=metered, check=False)
    assert (done.returncode, "add --energy" in done.stderr) == (2, True)


def test_a_front_of_energy_is_drawn(ask: Ask, metered: Path) -> None:
    page = metered / "front.html"
    options = ("--pareto", "--against", "energy", "--points", "8", "--html", page)
    (front,) = ask("search", *options, *SPACE, cwd=metered)["fronts"]
    assert front["metric"] == "energy_mj"
    text = page.read_text(encoding="utf-8")
    assert "energy, mJ" in text
    assert text.count('data-n="f0-') == len(front["networks"])


def test_rows_carry_their_energy(ask: Ask, cli: Run, metered: Path) -> None:
    rows = ask("lut", "show", "--limit", "0", cwd=metered)["rows"]
    told = [row["energy"] for row in rows if row["energy"]]
    assert 0 < len(told) < len(rows)
    assert all(not each["below_noise"] and each["net_mj"] > 0 for each in told)
    assert "net mJ" in cli("lut", "show", cwd=metered).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "-b", "1mJ"), "the lowest reachable is 4."),
        (("energy", "show", "--meter", "nvml"), "meter 'nvml' measured nothing here; choose of fake:fake"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: Run, metered: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = cli(*arguments, *SPACE, cwd=metered, check=False)
    assert done.returncode == 2
    assert words in done.stderr


def test_status_tells_what_failed_for_energy_alone(ask: Ask, tmp_path: Path) -> None:
    refused = Visit(visit_id="r", status="unsupported", message="its program starts anew")
    with Store.open(tmp_path / "chamnet.db") as store:
        store.append(store.add_platform(make_platform()), "network", "abc", "energy", refused)
    (table,) = ask("status", cwd=tmp_path)["tables"]
    assert table["failures"] == {}
    assert table["energy_failures"] == {"abc": "unsupported: its program starts anew"}


def test_without_energy_one_error_says_what_to_run(cli: Run, tmp_path: Path) -> None:
    synthetic.write_store(tmp_path / "chamnet.db", measured_units=0.0, networks=())
    for arguments in (
        ("search", "-b", "20ms,35mJ"),
        ("energy", "build"),
        ("search", "--pareto", "--against", "energy"),
    ):
        done = cli(*arguments, *SPACE, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert "no energy was measured on paper-phone; run `chamnet-host profile --energy" in done.stderr
