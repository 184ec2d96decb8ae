"""What is said of networks measured whole: energies beside their predictions, and budgets that were not kept."""

from collections.abc import Mapping, Sequence
from statistics import mean, median

from chamnet.search import format_amount
from chamnet_host.measuring.energy_verification import EnergyVerification
from chamnet_host.texts.search import energy_cells
from chamnet_host.texts.verdict import TextTable

__all__ = ["energy_remarks", "energy_table", "mean_error", "over_budget"]

_IDLE_MOVED = 0.1  # of the idle power, from which on it is worth a word
_SLOW = 1.25  # over the predicted latency, from which on a window is held up rather than predicted badly
_AMOUNTS = {"latency_ms": "ms", "energy_mj": "mJ"}


def energy_table(found: Sequence[EnergyVerification]) -> TextTable:
    """Return one row for each network: predicted energy beside what it took, above idle and in all."""
    columns = ("network", "predicted mJ", "90 %", "net mJ", "gross mJ", "error", "noise")
    return TextTable(columns, tuple((each.prediction.network.name, *_cells(each)) for each in found))


def _cells(each: EnergyVerification) -> tuple[str, ...]:
    predicted, row = energy_cells(each.prediction), each.row
    if row is None:
        return (*predicted, "", "", "", "not measured")
    if row.is_below_noise:  # no figure of it is shown
        return (*predicted, "", "", "", "below noise")
    error = f"{100 * each.error:+.1f} %" if each.error is not None else ""
    return (
        *predicted,
        f"{row.net_mj:.2f}",
        f"{row.gross_mj:.2f}",
        error,
        f"{100 * row.noise_w / row.net_w:.1f} %",
    )


def energy_remarks(found: Sequence[EnergyVerification]) -> list[str]:
    """Say how far off predictions are, what cannot be compared and why, and what was not measured."""
    said = [f"{each.prediction.network.name}: no energy, {each.failed}" for each in found if each.row is None]
    measured = [each for each in found if each.row]
    if not measured:
        return said
    metered, table = measured[0].metered_by, measured[0].table
    if (error := mean_error(found)) is not None:
        count = sum(each.error is not None for each in found)
        said.append(
            f"mean absolute error {100 * error:.1f} % over the energies of {count} networks, by {metered}"
        )
    if table is None:
        said.append(
            "no energy of this target was known before, so none is predicted; next: `chamnet-host profile --energy`"
        )
    elif not measured[0].is_comparable:
        said.append(
            f"measured with {metered}, predicted for {table.metered_by}: these are of different things, and not compared;"
            " `chamnet-host energy show --meter` chooses what predicts"
        )
    else:
        said += _idle(measured, table.idle_w) + _held_up(measured)
    if learned := [each.prediction.network.name for each in found if each.has_learned]:
        said.append(f"measured before, so that predictions have learned from it: {', '.join(learned)}")
    return said


def _idle(measured: Sequence[EnergyVerification], table_w: float) -> list[str]:
    """Say where the device idles at another power than predictions count on: that is no fault of what they add to it."""
    now_w = median(each.row.idle_w for each in measured if each.row)
    if abs(now_w - table_w) < _IDLE_MOVED * table_w:
        return []
    return [
        f"the device idles at {now_w:.3f} W now, and at {table_w:.3f} W in what predicts: part of the errors is that"
    ]


def _held_up(measured: Sequence[EnergyVerification]) -> list[str]:
    """Say where runs took far longer in windows than they should: the device idles for that time, too, which is paid for."""
    slow = [
        f"{each.prediction.network.name} took {each.row.latency_ms:.2f} ms a run, predicted {latency.value:.2f}"
        for each in measured
        if each.row and (latency := each.prediction.latency) and each.row.latency_ms > _SLOW * latency.value
    ]
    return [f"held up in its windows, by other work or by heat: {'; '.join(slow)}"] if slow else []


def mean_error(found: Sequence[EnergyVerification]) -> float | None:
    """Return the mean absolute relative error of predicted energies; None where none can be compared."""
    errors = [abs(each.error) for each in found if each.error is not None]
    return mean(errors) if errors else None


def over_budget(name: str, measured: Mapping[str, float | None], limits: Mapping[str, float]) -> str:
    """Return by how much a network exceeds its budgets, and what to search next; empty where it keeps them.

    Args:
        name: Of the network.
        measured: Metric -> what it took, in the metric's unit; None where that was not measured.
        limits: Metric -> budget of the search that it won, in the same units.
    """
    over: list[str] = []
    next_limits = dict(limits)
    for metric, unit in _AMOUNTS.items():
        took, limit = measured.get(metric), limits.get(metric)
        if took is None or limit is None or took <= limit:
            continue
        next_limits[metric] = limit * limit / took
        over.append(
            f"{took:.2f} {unit}, {100 * (took / limit - 1):.1f} % over its budget of {limit:.2f} {unit}"
        )
    if not over:
        return ""
    budget = ",".join(format_amount(metric, limit) for metric, limit in next_limits.items())
    return f"{name} took {', and '.join(over)}; next: `chamnet-host search --budget {budget}`"
