from typing import Any

import pytest

from chamnet.predictors.verdict import Judged, Known, Report, judge
from chamnet_host.output import print_table
from chamnet_host.texts.verdict import baseline_table, heading, is_numeric, markdown, remarks, size_table

KNOWN = [
    Known(macs=macs, weight_bytes=size, measured_ms=macs / 1e8 + 0.5, sums_ms={"isolated blocks": macs / 9e7})
    for macs, size in ((50_000_000, 3_000_000), (200_000_000, 9_000_000), (500_000_000, 4_000_000))
]


def judged(name: str, error: float, **changed: Any) -> Judged:
    facts = {
        "name": name,
        "group": "random",
        "macs": 200_000_000,
        "weight_bytes": 8_000_000,
        "visits_ms": (1.99, 2.01),
        "predicted_ms": 2 * (1 + error),
        "low_ms": 1.9 * (1 + error),
        "high_ms": 2.1 * (1 + error),
        "coverage": {"measured": 0.25, "interpolated": 0.75, "missing": 0.0},
        "sums_ms": {"isolated blocks": 2.5},
    }
    return Judged(**(facts | changed))  # type: ignore[arg-type]


def report() -> Report:
    networks = [judged("one", 0.02), judged("two|2", -0.08), judged("three", 0.04, macs=90_000_000)]
    return judge(networks, KNOWN)


def test_heading_counts_networks_of_each_group() -> None:
    assert heading(report()) == "3 random networks"
    assert heading(judge([judged("a", 0.1)], KNOWN)) == "1 random network"
    mixed = judge([judged("a", 0.1), judged("b", 0.1, group="published")], KNOWN)
    assert heading(mixed) == "2 published and random networks"


def test_baselines_stand_below_the_predictor() -> None:
    table = baseline_table(report())
    assert table.columns == ("", "MAPE", "bias", "within 5 %", "within 10 %", "worst", "worst network")
    assert table.rows[0] == ("predictor", "4.67 %", "-0.67 %", "66.7 %", "100.0 %", "-8.0 %", "two|2")
    assert [row[0] for row in table.rows[1:]] == [
        "MACs",
        "MACs and weight bytes",
        "sum of isolated blocks",
        "sum of isolated blocks, scaled",
    ]
    assert table.rows[3][1:3] == ("25.00 %", "+25.00 %")


def test_sizes_have_a_row_each() -> None:
    table = size_table(report())
    assert [row[:3] for row in table.rows] == [
        ("all", "3", "4.67 %"),
        ("under 100 MMACs", "1", "4.00 %"),
        ("100 MMACs and over", "2", "5.00 %"),
    ]
    assert table.rows[0][-3] == "1.00 %"  # 1.99 against 2.01 ms
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert size_table(judge([judged("a", 0.1)], [])).rows[0][-1] == "-"


def test_remarks_tell_noise_excess_coverage_and_improvement() -> None:
    made = report()
    text = "\n".join(remarks(made))
    assert "differ by 1.00 % on average" in text
    assert "standard error of a measured latency is 0.50 %" in text
    assert "2 of 3 networks lie inside their 90 % interval" in text
    assert f"{made.whole.improvement:.1f} times the predictor's MAPE" in text
    assert "25.0 % measured, 75.0 % interpolated, 0.0 % missing" in text
    assert "Baselines" not in "\n".join(remarks(judge([judged("a", 0.1)], [])))


def test_markdown_has_both_tables_and_escapes_names() -> None:
    text = markdown(report())
    lines = text.splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert "| predictor | 4.67 % | -0.67 % | 66.7 % | 100.0 % | -8.0 % | two\\|2 |" in tables
    assert tables[1] == "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    assert len({line.replace("\\|", "").count("|") for line in tables[:7]}) == 1
    assert sum(line.startswith("- ") for line in lines) == len(remarks(report()))
    assert text.endswith("\n")


def test_tables_print(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(*baseline_table(report()))
    print_table(*size_table(report()))
    printed = capsys.readouterr().out
    assert "predictor" in printed
    assert "under 100 MMACs" in printed


def test_columns_of_numbers_are_told_from_names() -> None:
    table = baseline_table(report())
    assert [is_numeric(table, i) for i in range(len(table.columns))] == [False, *[True] * 5, False]
