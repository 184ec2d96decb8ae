import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chamnet.lut import EFFORTS
from chamnet.models import identity_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
DATA = Path(__file__).parents[1] / "data"
TINY, SMALL = DATA / "tiny-mobile.toml", DATA / "small-mobile.toml"
Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Any]


def test_the_winner_is_measured(ask: Ask, profiled: Path) -> None:
    winner = ask("search", "-b", "20ms", "--space", TINY, cwd=profiled)["best"]["network"]
    body = ask("verify", "best", "chamnet-f", "--visits", "4", "--space", TINY, cwd=profiled)
    assert [network["network"] for network in body["networks"]] == [winner, "chamnet-f"]
    assert all(network["measured_ms"] > 0 for network in body["networks"])
    assert body["mean_absolute_error"] == pytest.approx(sum(abs(n["error"]) for n in body["networks"]) / 2)


def test_predict_explains_every_unit(ask: Ask, profiled: Path) -> None:
    (network,) = ask("predict", "chamnet-f", "--explain", "--space", TINY, cwd=profiled)["networks"]
    assert sum(unit["latency_ms"] for unit in network["units"]) == pytest.approx(
        network["predicted"]["latency_ms"]["value"]
    )
    assert network["predicted"]["macs"] == 30_769_152


def test_networks_equal_the_oracles(ask: Ask, tmp_path: Path) -> None:
    oracles = json.loads((DATA / "network_oracles.json").read_text())
    listed = {network["name"]: network for network in ask("networks", cwd=tmp_path)["networks"]}
    assert set(listed) == set(oracles)
    for name, oracle in oracles.items():
        got = {
            "macs": listed[name]["macs"],
            "params": listed[name]["params"],
            "weights": listed[name]["conv_fc_weights"],
        }
        assert got | oracle == got


def test_a_users_own_model_is_measured(ask: Ask, profiled: Path, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(identity_model((1, 8, 8, 8)))
    assert ask("measure", model, "--visits", "3", cwd=profiled)["measured_ms"] > 0


@pytest.mark.parametrize("form", ["onnx", "tflite", "torch"])
def test_a_network_is_exported(ask: Ask, cli: Run, tmp_path: Path, form: str) -> None:
    body = ask("export", "chamnet-f", "--format", form, "-o", f"f.{form}", cwd=tmp_path)
    assert (tmp_path / body["file"]).stat().st_size == body["bytes"] > 5e6


def test_tables_are_shown_carried_and_compared(ask: Ask, profiled: Path, tmp_path: Path) -> None:
    shown = ask("lut", "show", "--limit", "3", cwd=profiled)
    assert len(shown["rows"]) == 3 < shown["total"]
    assert all(row["executed"] for row in shown["rows"])
    exported = ask("lut", "export", tmp_path / "t.parquet", cwd=profiled)
    imported = ask("lut", "import", tmp_path / "t.parquet", "--as", "elsewhere", cwd=tmp_path)
    assert imported["added"] == exported["visits"]
    diff = ask(
        "lut", "diff", "chamnet.db", tmp_path / "chamnet.db", "--profiles", elsewhere(tmp_path), cwd=profiled
    )
    assert diff["median_ratio"] == 1


def elsewhere(folder: Path) -> Path:
    """Make a device profile for a device that is not here; its table can be searched all the same."""
    (folder / "elsewhere.toml").write_text("transport = 'direct'\naddress = '127.0.0.1:9'\n")
    return folder


def test_an_imported_table_is_searched_without_the_device(ask: Ask, profiled: Path, tmp_path: Path) -> None:
    ask("lut", "export", tmp_path / "t.csv", cwd=profiled)
    ask("lut", "import", tmp_path / "t.csv", "--as", "elsewhere", cwd=tmp_path)
    options = ("--target", "elsewhere", "--profiles", elsewhere(tmp_path), "--space", TINY)
    assert ask("search", "-b", "20ms", *options, cwd=tmp_path)["target"] == "elsewhere"


def test_an_imported_table_needs_no_profile_to_be_searched(
    ask: Ask, cli: Run, profiled: Path, tmp_path: Path
) -> None:
    ask("lut", "export", tmp_path / "t.csv", cwd=profiled)
    ask("lut", "import", tmp_path / "t.csv", "--as", "lent-phone", cwd=tmp_path)
    assert ask("search", "-b", "20ms", "--space", TINY, cwd=tmp_path)["target"] == "lent-phone"
    done = cli("verify", "best", cwd=tmp_path, check=False)
    assert (done.returncode, "is an imported table" in done.stderr) == (2, True)


def test_one_of_several_winners_is_exported(ask: Ask, cli: Run, profiled: Path, tmp_path: Path) -> None:
    ask("search", "-b", "20ms", "-b", "75%", "--space", TINY, cwd=profiled)
    done = cli("export", "best", "-o", tmp_path / "x.onnx", "--space", TINY, cwd=profiled, check=False)
    assert (done.returncode, "best:1" in done.stderr) == (2, True)
    assert ask("export", "best:2", "-o", tmp_path / "x.onnx", "--space", TINY, cwd=profiled)["bytes"] > 0


def test_the_help_comes_without_an_error(cli: Run, tmp_path: Path) -> None:
    done = cli(cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (2, "")


def test_a_full_output_is_one_clear_error(profiled: Path, env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "chamnet_host", "networks"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=profiled, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_winner_is_measured_against_its_budget(ask: Ask, profiled: Path) -> None:
    answer = ask("search", "-b", "75%", "--space", TINY, cwd=profiled)["best"]
    verified = ask("verify", "best", "chamnet-f", "--visits", "2", "--space", TINY, cwd=profiled)["networks"]
    assert [network["budget_ms"] for network in verified] == [answer["budgets"]["latency_ms"], None]


def test_status_and_devices_and_dry_run(ask: Ask, profiled: Path) -> None:
    (table,) = ask("status", cwd=profiled)["tables"]
    assert table["units"] > 20
    assert table["failures"] == {}
    (device,) = [d for d in ask("devices", cwd=profiled)["devices"] if d["target"] == "local"]
    assert device["reachable"]


def test_a_dry_run_says_what_it_would_take(ask: Ask, cli: Run, profiled: Path, tmp_path: Path) -> None:
    planned = ask("profile", "--dry-run", "--space", TINY, cwd=profiled)
    assert planned["walks"] == planned["grid"] == 90  # a small space needs fewer walks
    assert planned["networks"] == 10
    assert planned["minutes"] > 0
    assert planned["visits_stored"] > 1_000
    said = cli("profile", "--dry-run", "--effort", "normal", cwd=tmp_path).stdout
    assert f"{EFFORTS['normal'].walks:,} walks through networks of chamnet-mobile" in said
    assert "0 visits are stored" in said


def test_a_second_profile_measures_nothing(ask: Ask, profiled: Path) -> None:
    body = ask("profile", "--space", TINY, cwd=profiled)
    assert body["visits"]["stored"] == 0
    assert body["visits"]["stored_before"] == body["visits"]["planned"]


def test_blocks_can_be_the_unit(ask: Ask, tmp_path: Path) -> None:
    body = ask("profile", "--granularity", "block", "--space", SMALL, cwd=tmp_path)
    assert body["granularity"] == "block"
    best = ask("search", "-b", "20ms", "--space", SMALL, cwd=tmp_path)["best"]
    assert best["predicted"]["latency_ms"]["value"] > 0
    (row, *_) = ask("lut", "show", "+skip", cwd=tmp_path)["rows"]
    assert len(row["executed"]) > 1  # several operators of the runtime in one row


def test_another_runtime_and_element_type(ask: Ask, cli: Run, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    options = ("--space", SMALL)
    body = ask("profile", "--backend", "litert", "--dtype", "int8", *options, cwd=tmp_path)
    assert "litert" in body["platform"]
    assert (body["dtype"], body["failed"]) == ("int8", 0)
    # From here on nothing repeats backend and element type: the last ones profiled are meant.
    best = ask("search", "-b", "20ms", *options, cwd=tmp_path)["best"]
    (network,) = ask("verify", "best", "--visits", "4", *options, cwd=tmp_path)["networks"]
    assert network["predicted"]["latency_ms"]["value"] == best["predicted"]["latency_ms"]["value"]
    assert abs(network["error"]) < 1
    rows = ask("lut", "show", cwd=tmp_path)["rows"]
    assert all(":int8:" in row["key"] for row in rows)
    assert ask("profile", *options, "--backend", "litert", cwd=tmp_path)["visits"]["stored"] == 0
    (table,) = ask("status", cwd=tmp_path)["tables"]
    assert "litert" in table["platform"]


def test_a_table_says_how_sure_each_row_is(ask: Ask, cli: Run, profiled: Path) -> None:
    body = ask("lut", "show", "conv1x1", "--limit", "5", cwd=profiled)
    assert body["total"] > 5 == len(body["rows"])
    latencies_ms = [row["latency_ms"] for row in body["rows"]]
    assert latencies_ms == sorted(latencies_ms, reverse=True)
    for row in body["rows"]:
        assert row["kind"] == "unit"
        assert row["visits"] > 1
        assert row["state"] in ("few visits", "unsettled", "settled", "unstable")
        assert row["error"] is None or row["error"] > 0
        assert row["executed"]
    shown = cli("lut", "show", "conv1x1", "--limit", "5", cwd=profiled).stdout
    heading = next(line for line in shown.splitlines() if "executed as" in line)
    assert re.split(r"\s{2,}", heading.strip()) == [
        "unit", "ms", "error", "visits", "state", "shared with", "executed as"
    ]  # fmt: skip
    networks = ask("lut", "show", "--networks", cwd=profiled)
    assert {row["kind"] for row in networks["rows"]} == {"network"}


VALIDATE = ("lut", "validate", "--space", TINY, "--networks", "3", "--visits", "2")


@pytest.fixture(scope="module")
def validated(ask: Ask, profiled: Path) -> Any:
    """The answer of a first validation; its page is `accuracy.html`."""
    return ask(*VALIDATE, "--html", "accuracy.html", cwd=profiled)


def visits_stored(ask: Ask, folder: Path) -> int:
    (table,) = ask("status", cwd=folder)["tables"]
    visits: int = table["visits"]
    return visits


def test_predictions_are_judged_on_fresh_networks(validated: Any) -> None:
    assert validated.keys() >= {"target", "platform", "measured_on", "seed", "visits", "reports", "networks"}
    assert validated["platform"] == validated["measured_on"]
    assert 0 <= validated["seed"] < 10**6
    report = validated["reports"]["random"]
    assert report["groups"] == ["random"]
    whole, *_ = report["classes"]
    assert whole["name"] == "all"
    assert whole["predictor"]["count"] == 3
    assert whole["predictor"]["interval"].keys() >= {"inside", "share", "low", "high", "consistent"}
    assert [each["name"] for each in whole["baselines"]] == [
        "MACs",
        "MACs and weight bytes",
        "sum of isolated operators",
        "sum of isolated operators, scaled",
        "sum of isolated blocks",
        "sum of isolated blocks, scaled",
    ]
    assert len(validated["networks"]) == 3
    errors = []
    for network in validated["networks"]:
        assert network["group"] == "random"
        assert 20e6 <= network["macs"] <= 700e6
        assert len(network["visits_ms"]) == 2
        assert network["low_ms"] < network["predicted_ms"] < network["high_ms"]
        assert set(network["sums_ms"]) == {"isolated operators", "isolated blocks"}
        errors.append(abs(network["error"]))
    assert whole["predictor"]["mape"] == pytest.approx(sum(errors) / 3)


def test_a_validation_is_a_page_to_look_at(validated: Any, profiled: Path) -> None:
    page = (profiled / "accuracy.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert f"seed {validated['seed']}" in page
    for network in validated["networks"]:
        assert network["name"] in page
    assert not re.search(r"(src|href)=.?https?://", page)  # complete in itself


def test_a_validation_continues_with_its_seed(ask: Ask, cli: Run, validated: Any, profiled: Path) -> None:
    before = visits_stored(ask, profiled)
    done = cli(*VALIDATE, "--seed", validated["seed"], cwd=profiled)
    assert visits_stored(ask, profiled) == before
    assert f"seed {validated['seed']}" in done.stderr
    assert "3 random networks" in done.stdout
    assert any(network["name"] in done.stdout for network in validated["networks"])  # the worst one is named
    again = ask(*VALIDATE, "--seed", validated["seed"], cwd=profiled)
    assert again["networks"] == validated["networks"]
    markdown = cli(*VALIDATE, "--seed", validated["seed"], "--markdown", cwd=profiled).stdout
    assert markdown.startswith("### ")
    assert "| --" in markdown


def test_without_naive_tables_there_are_fewer_baselines(ask: Ask, validated: Any, profiled: Path) -> None:
    body = ask(*VALIDATE, "--seed", validated["seed"], "--no-naive", cwd=profiled)
    whole, *_ = body["reports"]["random"]["classes"]
    assert [each["name"] for each in whole["baselines"]] == ["MACs", "MACs and weight bytes"]


def broken(folder: Path, env: dict[str, str], package: str) -> dict[str, str]:
    """Return an environment in which a runtime is installed, but does not load."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(
        '__version__ = "9.9"\nraise ImportError("libz.so.9: missing")\n'
    )
    return {**env, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("package", "backend"), [("onnxruntime", "onnxruntime"), ("tflite_runtime", "litert")]
)
def test_an_installed_runtime_that_does_not_load_is_one_clear_error(
    tmp_path: Path, env: dict[str, str], package: str, backend: str
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    settings = broken(hidden, env, package)
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['ai_edge_litert'] = None\n")
    command = [sys.executable, "-m", "chamnet_host", "profile", "--backend", backend, "--space", str(SMALL)]
    done = subprocess.run(
        command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert "libz.so.9: missing" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "-b", "20ms", "-t", "pixel99"), "unknown target 'pixel99'; known: "),
        (("search", "-b", "20ms", "--space", "chamnet-huge"), "unknown space 'chamnet-huge'; known: "),
        (("search", "-b", "20parsecs", "--space", TINY), "unknown unit 'parsecs'"),
        (("search", "-b", "fast", "--space", TINY), "not a number with a unit"),
        (("search", "-b", "1us", "--space", TINY), "the lowest reachable is "),
        (("search", "-b", "35mJ", "--space", TINY), "no energy was measured"),
        (("search", "-b", "1ms,2ms", "--space", TINY), "bounds latency_ms twice"),
        (("search", "-b", "like:chamnet-z", "--space", TINY), "did you mean"),
        (("search",), "--budget"),
        (("serch",), "No such command"),
        (("predict", "chamnet-z"), "unknown network 'chamnet-z'; did you mean"),
        (("profile", "--effort", "huge"), "unknown effort 'huge'; known: quick"),
        (("profile", "--backend", "tflite", "--space", TINY), "'tflite' does not work on "),
        (("profile", "--backend", "torch", "--dtype", "int8", "--space", TINY), "'torch' runs f32, not int8"),
        (("profile", "--dtype", "int4"), "int4"),
        (("profile", "--threads", "999", "--space", TINY), "--threads 999"),
        (("profile", "--threads", "0"), "'--threads': Input should be greater than or equal to 1"),
        (("profile", "--near", "8MMACs", "--space", TINY), "--near 8MMACs: give a latency, such as 8ms"),
        (("profile", "--near", "soon", "--space", TINY), "not a number with a unit"),
        (("profile", "--also", "chamnet-z", "--space", TINY), "did you mean"),
        (("lut", "show", "--backend", "litert"), "with backend 'litert' has not been profiled"),
        (("lut", "validate", "--networks", "2"), "--networks"),
        (("lut", "validate", "--space", TINY, "--networks", "999"), "ask for fewer with --networks"),
        (("lut", "validate", "--space", TINY, "--backend", "litert"), "has not been profiled"),
        (("profile", "--granularity", "layer"), "layer"),
        (("export", "chamnet-a", "-f", "tf", "-o", "x"), "unknown format"),
        (("measure", "no.onnx"), "cannot be read"),
        (("profile", "-t", "127.0.0.1:1", "--space", TINY), "127.0.0.1:1"),
    ],
)
def test_a_users_mistake_is_one_clear_error(
    cli: Run, profiled: Path, arguments: tuple[object, ...], words: str
) -> None:
    done = cli(*arguments, cwd=profiled, check=False)
    assert words in done.stderr
    assert done.returncode in ((1, 2) if arguments[0] == "profile" else (2,))
    assert len(done.stderr.strip().splitlines()) <= 2
    failed = cli(*arguments, "--json", cwd=profiled, check=False)
    assert json.loads(failed.stdout)["error"]["exit_code"] == done.returncode


def test_searching_before_profiling_says_what_to_run(cli: Run, tmp_path: Path) -> None:
    done = cli("search", "-b", "20ms", cwd=tmp_path, check=False)
    assert (done.returncode, "chamnet-host profile" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def test_a_corrupt_store_is_one_clear_error(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "chamnet.db").write_bytes(b"not a database" * 99)
    done = cli("search", "-b", "20ms", cwd=tmp_path, check=False)
    assert (done.returncode, "not a ChamNet store" in done.stderr) == (1, True)


def test_searching_imports_no_torch(profiled: Path, cli: Run, env: dict[str, str]) -> None:
    code = (
        "import sys; from chamnet_host.app import run\n"
        f"assert run(['search', '-b', '20ms', '--space', {str(TINY)!r}, '--json']) == 0\n"
        "heavy = {'torch', 'pandas', 'scipy', 'onnxruntime', 'onnx', 'botorch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=profiled,
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )
