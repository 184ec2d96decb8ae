"""`chamnet-host search` on a profiled table: budgets, proofs, parts of a space, fronts, several targets."""

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
TINY = Path(__file__).parents[1] / "data" / "tiny-mobile.toml"
Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Any]


def test_search_answers_with_the_documented_keys(ask: Ask, profiled: Path) -> None:
    body = ask("search", "--budget", "20ms", "--space", TINY, cwd=profiled)
    best = body["best"]
    assert body["answers"] == [best]
    assert len(best["genome"]) == 8
    assert best["network"] == "-".join(map(str, best["genome"]))
    latency, top1 = best["predicted"]["latency_ms"], best["predicted"]["top1"]
    assert latency["low"] < latency["value"] < latency["high"] < 20
    assert top1["low"] < top1["value"] < top1["high"] < 100
    assert isinstance(top1["extrapolated"], bool)
    assert best["binding"] is False
    assert best["reachable"]["latency_ms"]["highest"] < 20
    assert best["predicted"]["macs"] > 0
    assert best["predicted"]["params"] > 0
    assert body["elapsed_s"] > 0
    assert body["evaluations"] > 0


def test_same_seed_same_answer(ask: Ask, profiled: Path) -> None:
    first, second = (ask("search", "-b", "75%", "--space", TINY, cwd=profiled) for _ in range(2))
    assert first["best"]["genome"] == second["best"]["genome"]
    assert first["best"]["predicted"] == second["best"]["predicted"]


def test_budgets_hold_together_and_apart(ask: Ask, profiled: Path) -> None:
    body = ask("search", "-b", "60%,40MMACs", "-b", "like:chamnet-f", "--space", TINY, cwd=profiled)
    both, like = body["answers"]
    assert "best" not in body
    assert both["predicted"]["macs"] <= 40e6
    for answer in (both, like):
        assert answer["predicted"]["latency_ms"]["value"] <= answer["budgets"]["latency_ms"]


def test_the_answer_is_proven(ask: Ask, profiled: Path) -> None:
    best = ask("search", "-b", "60%", "--space", TINY, cwd=profiled)["best"]
    assert best["solver"] == "exact"
    assert best["optimality"]["status"] == "optimal"
    assert best["optimality"]["gap_top1"] == 0
    assert best["optimality"]["bound_top1"] == pytest.approx(best["predicted"]["top1"]["value"], abs=1e-3)
    assert best["optimality"]["predictor"] == "additive"


def test_evolution_proves_nothing_and_finds_nothing_better(ask: Ask, profiled: Path) -> None:
    exact = ask("search", "-b", "60%", "--space", TINY, cwd=profiled)["best"]
    evolved = ask("search", "-b", "60%", "--solver", "evolution", "--space", TINY, cwd=profiled)["best"]
    assert evolved["solver"] == "evolution"
    assert evolved["optimality"]["status"] == "heuristic"
    assert evolved["optimality"]["bound_top1"] is None
    assert evolved["optimality"]["gap_top1"] is None
    assert evolved["predicted"]["top1"]["value"] <= exact["predicted"]["top1"]["value"] + 1e-3


def test_a_part_of_the_space_is_searched(ask: Ask, profiled: Path) -> None:
    options = ("--fix", "resolution=96", "--channel-multiple", "8", "--space", TINY)
    best = ask("search", "-b", "20ms", *options, cwd=profiled)["best"]
    whole = ask("search", "-b", "20ms", "--space", TINY, cwd=profiled)["best"]
    assert best["architecture"]["resolution"] == 96
    assert all(stage["filters"] % 8 == 0 for stage in best["architecture"]["stages"])
    assert len(best["genome"]) == len(whole["genome"])
    assert best["optimality"]["networks"] < whole["optimality"]["networks"]
    assert best["predicted"]["top1"]["value"] <= whole["predicted"]["top1"]["value"]


def test_a_front_rises_and_meets_the_single_search(ask: Ask, profiled: Path, tmp_path: Path) -> None:
    page = tmp_path / "front.html"
    options = ("--pareto", "--points", "12", "--html", page, "--space", TINY)
    (front,) = ask("search", *options, cwd=profiled)["fronts"]
    networks = front["networks"]
    assert all(each["optimality"]["status"] == "optimal" for each in networks)
    assert all(a["cost"] < b["cost"] for a, b in pairwise(networks))
    top1 = [each["predicted"]["top1"]["value"] for each in networks]
    assert top1 == sorted(top1)
    alone = ask("search", "-b", f"{networks[3]['limit']}ms", "--space", TINY, cwd=profiled)["best"]
    assert alone["network"] == networks[3]["network"]
    text = page.read_text(encoding="utf-8")
    assert text.count('data-n="f0-') == len(networks)
    assert "http" not in text.replace("http-equiv", "")


def test_two_targets_are_answered_in_one_call(ask: Ask, cli: Run, profiled: Path, tmp_path: Path) -> None:
    ask("lut", "export", tmp_path / "t.csv", cwd=profiled)
    for name in ("pixel", "tablet"):
        ask("lut", "import", tmp_path / "t.csv", "--as", name, cwd=tmp_path)
    options = ("-t", "pixel", "-t", "tablet", "-b", "60%", "-b", "40%", "--space", TINY)
    body = ask("search", *options, cwd=tmp_path)
    assert [(answer["target"], answer["budget"]) for answer in body["answers"]] == [
        ("pixel", "60%"), ("pixel", "40%"), ("tablet", "60%"), ("tablet", "40%"),
    ]  # fmt: skip
    assert body["answers"][0]["network"] == body["answers"][2]["network"]
    shown = cli("search", *options, cwd=tmp_path).stdout
    assert "tablet" in shown
    assert "proven the best" in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-b", "60%", "--solver", "magic"), "unknown solver 'magic'; known: auto, exact, evolution"),
        (("-b", "60%", "--fix", "resolution"), "--fix resolution: write a decision and its value"),
        (("-b", "60%", "--fix", "resolution=65"), "resolution = 65"),
        (("-b", "60%", "--fix", "width=2"), "no axis 'width'"),
        (("-b", "60%", "--channel-multiple", "999"), "is a multiple of 999"),
        (("--pareto", "-b", "60%"), "bounds what the front sweeps"),
        (("--pareto", "--against", "joy"), "--against joy: known are latency, macs"),
        (("--pareto", "-b", "1params"), "the lowest reachable is"),
        ((), "--budget 8ms, or --pareto"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: Run, profiled: Path, options: tuple[str, ...], words: str
) -> None:
    done = cli("search", *options, "--space", TINY, cwd=profiled, check=False)
    assert done.returncode == 2
    assert words in done.stderr
