from dataclasses import replace

from chamnet.lut.agreement import Standing
from chamnet_host.measuring.campaign import Share, Tally
from chamnet_host.texts.fleet import (
    devices_json,
    devices_rows,
    differing_text,
    lost_text,
    shares_text,
    unsure_text,
)

AGREES = Standing(serial="A", rounds=6, ratio=0.95, error=0.004, probe_ratio=0.96)
DIFFERS = Standing(serial="B", rounds=6, ratio=1.05, error=0.004, probe_ratio=1.04)


def tally(*standings: Standing | None, **of_last: str) -> Tally:
    shares = {
        serial: Share(stored=1200, standing=standing)
        for serial, standing in zip("ABC", standings, strict=False)
    }
    last = list(shares)[-1]
    shares[last] = replace(shares[last], **of_last)  # type: ignore[arg-type]
    return Tally(shares=shares)


def test_progress_says_what_each_device_does() -> None:
    waiting = "lost; trying for another 20 s"
    assert shares_text(tally(None, None, waiting=waiting)) == f"A: 1,200, B: 1,200 ({waiting})"
    assert shares_text(tally(None)) == ""


def test_the_run_waits_only_if_all_devices_do() -> None:
    assert tally(None, None, waiting="cooling").waiting == ""
    assert tally(None, waiting="cooling").waiting == "cooling"


def test_devices_that_differ_are_told_with_the_gap_between_them_and_what_explains_it() -> None:
    text = differing_text(tally(AGREES, DIFFERS))
    assert "B takes 10.5 % longer than A" in text
    assert "+8.3 % for the reference computation: clock or heat" in text
    unexplained = replace(DIFFERS, probe_ratio=0.96)
    assert "not its clock alone" in differing_text(tally(AGREES, unexplained))
    assert "reference" not in differing_text(tally(AGREES, replace(DIFFERS, probe_ratio=None)))


def test_nothing_is_said_of_devices_that_agree_or_of_one() -> None:
    same = replace(AGREES, ratio=1.0)
    for each in (tally(same, replace(same, serial="B")), tally(None)):
        assert (differing_text(each), unsure_text(each), lost_text(each)) == ("", "", "")


def test_what_cannot_be_told_is_said() -> None:
    few = Standing(serial="B", rounds=1, ratio=1.2)
    assert "B (+20.0 %)" in unsure_text(tally(replace(AGREES, ratio=1.0), few))
    assert "B (not compared)" in unsure_text(tally(replace(AGREES, ratio=1.0), Standing(serial="B")))


def test_a_lost_device_is_named_with_the_reason() -> None:
    lost = tally(None, None, lost="its cable was pulled")
    assert "B, after 1,200 visits: its cable was pulled" in lost_text(lost)
    assert [row[-1] for row in devices_rows(lost)] == ["", "lost"]
    assert [each["lost"] for each in devices_json(lost)] == [None, "its cable was pulled"]
    assert lost_text(tally(None, lost="gone")) == ""  # alone, the run ends with an error that says so
