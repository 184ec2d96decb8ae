"""What is said of devices that share a campaign."""

from typing import Any

from chamnet.lut.agreement import Standing
from chamnet_host.measuring.campaign import Share, Tally

__all__ = [
    "COLUMNS",
    "devices_json",
    "devices_rows",
    "differing_text",
    "lost_text",
    "remark_text",
    "shares_text",
    "unsure_text",
]

COLUMNS = ("device", "visits stored", "beside the median", "")
_MOSTLY = 0.5  # share of a difference that its clock has to explain


def shares_text(tally: Tally) -> str:
    """Return what each device has done and waits for, in a line; empty where there is but one."""
    if len(tally.shares) < 2:
        return ""
    return ", ".join(f"{serial}: {_share(share)}" for serial, share in tally.shares.items())


def remark_text(tally: Tally) -> str:
    """Return what to say beside the progress of a run; empty where all is well."""
    parts = [f"{tally.failed} failed"] if tally.failed else []
    parts += [f"{tally.slow} slow"] if tally.slow else []
    parts += [f"{tally.reconnects} reconnects"] if tally.reconnects else []
    parts += [f"waited {tally.waits} s for another host"] if tally.waits else []
    waiting = shares_text(tally) or tally.waiting
    parts += [waiting] if waiting else []
    return ", ".join(parts)


def differing_text(tally: Tally) -> str:
    """Return by how much devices differ, and what to do about it; empty where they do not."""
    standings = [share.standing for share in tally.shares.values() if share.standing]
    if not any(each.verdict == "differs" for each in standings):
        return ""
    known = sorted((each.ratio, each.serial) for each in standings if each.ratio is not None)
    (fast, fastest), (slow, slowest) = known[0], known[-1]
    return (
        f"the devices differ: {slowest} takes {100 * (slow / fast - 1):.1f} % longer than {fastest} for the same networks"
        f"{_why(standings, fastest, slowest)}. What is measured is stored, each visit with its device, but the table stands"
        f" for none of them. Let them rest and charge and run again with --recalibrate, or keep to one: `lut export"
        f" --serial {fastest}`, `lut import`."
    )


def unsure_text(tally: Tally) -> str:
    """Return for which devices it cannot be told whether they agree; empty where it can for all."""
    unsure = [s for share in tally.shares.values() if (s := share.standing) and s.verdict == "unsure"]
    if not unsure:
        return ""
    names = ", ".join(f"{each.serial} ({_ratio(each)})" for each in unsure)
    return f"too few or too uneven rounds to tell whether these devices agree with the others: {names}"


def lost_text(tally: Tally) -> str:
    """Return which of several devices was lost; empty where none was."""
    lost = [(serial, share) for serial, share in tally.shares.items() if share.lost]
    if not lost or len(tally.shares) < 2:
        return ""
    names = "; ".join(f"{serial}, after {share.stored:,} visits: {share.lost}" for serial, share in lost)
    return f"lost on the way, and their work done by the others: {names}"


def devices_rows(tally: Tally) -> list[tuple[str, ...]]:
    """Return a row for each device."""
    return [
        (
            serial,
            f"{share.stored:,}",
            _ratio(share.standing),
            "lost" if share.lost else share.standing.verdict if share.standing else "",
        )
        for serial, share in tally.shares.items()
    ]


def devices_json(tally: Tally) -> list[dict[str, Any]]:
    """Return the documented JSON of each device."""
    return [
        {
            "serial": serial,
            "stored": share.stored,
            "lost": share.lost or None,
            "verdict": share.standing.verdict if share.standing else None,
            "ratio": share.standing.ratio if share.standing else None,
            "error": share.standing.error if share.standing else None,
            "probe_ratio": share.standing.probe_ratio if share.standing else None,
        }
        for serial, share in tally.shares.items()
    ]


def _share(share: Share) -> str:
    return f"{share.stored:,} ({share.waiting})" if share.waiting else f"{share.stored:,}"


def _ratio(standing: Standing | None) -> str:
    if standing is None or standing.ratio is None:
        return "not compared"
    error = "" if standing.error is None else f" ± {100 * standing.error:.1f}"
    return f"{100 * (standing.ratio - 1):+.1f}{error} %"


def _why(standings: list[Standing], fastest: str, slowest: str) -> str:
    """Return whether the clock explains a difference; empty where no computation was timed beside the visits."""
    of = {each.serial: each for each in standings}
    fast, slow = of[fastest], of[slowest]
    if not (fast.probe_ratio and slow.probe_ratio and fast.ratio and slow.ratio):
        return ""
    explained = (slow.probe_ratio / fast.probe_ratio - 1) > _MOSTLY * (slow.ratio / fast.ratio - 1)
    how = f"{100 * (slow.probe_ratio / fast.probe_ratio - 1):+.1f} % for the reference computation"
    return f" ({how}: {'clock or heat' if explained else 'not its clock alone; other load, or other memory'})"
