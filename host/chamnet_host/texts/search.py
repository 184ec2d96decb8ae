"""What a search found, in words and tables for people."""

from collections.abc import Sequence

from chamnet.quantities import format_count
from chamnet.search import SearchResult, format_amount
from chamnet_host.prediction import Prediction
from chamnet_host.searching.answer import Answer
from chamnet_host.searching.corrected import Correction
from chamnet_host.searching.front import Front, cost_of
from chamnet_host.searching.verified import Verified
from chamnet_host.texts.verdict import TextTable

__all__ = [
    "COST_NAMES",
    "answer_remarks",
    "answer_table",
    "energy_cells",
    "front_remarks",
    "front_table",
    "verified_remark",
    "verified_table",
]

_SHOWN = 16  # points of a front on the terminal
COST_NAMES = {
    "latency_ms": "ms",
    "energy_mj": "mJ",
    "macs": "MACs",
    "params": "params",
    "weight_bytes": "weights",
}


def answer_table(answers: Sequence[Answer]) -> TextTable:
    """Return one row for each answer; with its target where there are several."""
    several = len({answer.target for answer in answers}) > 1
    metered = any(answer.prediction.energy for answer in answers)
    energy = ("mJ", "90 %") if metered else ()
    columns = ("budget", "top-1", "90 %", "ms", "90 %", *energy, "MACs", "params", "gap", "network")
    rows: list[tuple[str, ...]] = []
    for answer in answers:
        latency, top1, network = answer.prediction.latency, answer.prediction.top1, answer.prediction.network
        assert latency is not None
        assert top1 is not None
        cells = (
            answer.budgets.text,
            f"{top1.value:.1f} %",
            f"{top1.low:.1f} - {top1.high:.1f}{' (extrapolated)' if top1.extrapolated else ''}",
            f"{latency.value:.2f}",
            f"{latency.low:.2f} - {latency.high:.2f}",
            *(energy_cells(answer.prediction) if metered else ()),
            format_count(network.macs),
            format_count(network.params),
            _gap(answer.result),
            network.name,
        )
        rows.append((answer.target, *cells) if several else cells)
        for other in answer.others:
            row = _other(other, metered=metered)
            rows.append((answer.target, *row) if several else row)
    return TextTable(("target", *columns) if several else columns, tuple(rows))


def energy_cells(prediction: Prediction) -> tuple[str, str]:
    """Return predicted energy and its 90 % interval in mJ; empty where nothing predicts it."""
    energy = prediction.energy
    return (f"{energy.value:.2f}", f"{energy.low:.2f} - {energy.high:.2f}") if energy else ("", "")


def _other(other: Prediction, *, metered: bool) -> tuple[str, ...]:
    latency, top1, network = other.latency, other.top1, other.network
    return (
        "",
        f"{top1.value:.1f} %" if top1 else "",
        f"{top1.low:.1f} - {top1.high:.1f}" if top1 else "",
        f"{latency.value:.2f}" if latency else "",
        f"{latency.low:.2f} - {latency.high:.2f}" if latency else "",
        *(energy_cells(other) if metered else ()),
        format_count(network.macs),
        format_count(network.params),
        "",
        network.name,
    )


def _gap(result: SearchResult) -> str:
    if result.gap is None:
        return "?"
    return f"{result.gap:.3f}" if result.gap else "0"


def answer_remarks(answers: Sequence[Answer]) -> list[str]:
    """Say what the numbers hold for, how sure the answers are, and which budgets bind nothing."""
    said = [f"top-1 is for {answers[0].prediction.top1.basis}"] if answers[0].prediction.top1 else []
    if any(answer.prediction.top1 and answer.prediction.top1.extrapolated for answer in answers):
        said.append(
            "extrapolated: far from every network that the accuracy was learned from, so it is less sure than it looks; train"
            " the winner (`chamnet-host train best:1`), or go on with `accuracy build`"
        )
    said += list(dict.fromkeys(map(_proof, answers)))
    for answer in answers:
        said += answer.budgets.notes
        for constraint in answer.budgets.constraints:
            if not answer.result.binding[constraint.metric.name]:
                highest = format_amount(constraint.metric.name, constraint.metric.highest)
                said.append(
                    f"{constraint.budget.text} binds nothing: no network of the space needs more than {highest}"
                )
        if answer.result.interrupted:
            said.append(f"{answer.budgets.text}: interrupted, the best found until then")
    return said


def _proof(answer: Answer) -> str:
    energies = any(each.metric.name == "energy_mj" for each in answer.budgets.constraints)
    costs = "latencies and energies" if energies else "latencies"
    under = f"under the {answer.kernel} accuracy predictor and the table's expected {costs}"
    if answer.correction is not None:
        return _corrected(answer, answer.correction)
    if answer.result.status == "optimal":
        return f"gap 0: proven the best of {answer.networks:.3g} networks, {under}"
    if answer.result.status == "bounded":
        return f"gap: points of top-1 that another of {answer.networks:.3g} networks might have more, proven {under}"
    return f"gap ?: found by evolution, nothing is proven; {under}"


def _corrected(answer: Answer, correction: Correction) -> str:
    return (
        f"{answer.budgets.text}: {correction.needed_mj:.3f} mJ by {correction.model}, which does not add up, so nothing is"
        f" proven; found by evolution, {correction.factor:.3f} times the sum over units"
    )


def verified_table(verified: Verified) -> TextTable:
    """Return one row for each network measured."""
    rows = []
    for each in verified.measured:
        latency, top1 = each.prediction.latency, each.prediction.top1
        rows.append(
            (
                f"{top1.value:.1f} %" if top1 else "",
                f"{latency.value:.2f}" if latency else "",
                f"{each.row.latency_ms:.2f}",
                f"{100 * each.error:+.1f} %" if each.error is not None else "",
                "yes" if each.row.latency_ms <= verified.limit_ms else "no",
                each.prediction.network.name,
            )
        )
    return TextTable(("top-1", "predicted ms", "measured ms", "error", "within", "network"), tuple(rows))


def verified_remark(verified: Verified) -> str:
    """Say which network kept the budget as measured, or that none did."""
    searches = f"{verified.rounds} search{'es' if verified.rounds > 1 else ''}"
    if verified.winner is None:
        return (
            f"after {searches}, no network was measured within {verified.limit_ms:.3f} ms; lower the budget"
        )
    name, measured_ms = verified.winner.prediction.network.name, verified.winner.row.latency_ms
    return f"{name} took {measured_ms:.3f} ms of {verified.limit_ms:.3f} ms; {searches}"


def front_table(front: Front) -> TextTable:
    """Return an even choice of the networks, the first and the last among them."""
    count = len(front.networks)
    rows_shown = min(count, _SHOWN)
    shown = sorted({round(i * (count - 1) / max(1, rows_shown - 1)) for i in range(rows_shown)})
    timed = front.metric != "latency_ms"  # else it is the cost
    rows = []
    for i in shown:
        each = front.networks[i]
        latency, top1 = each.prediction.latency, each.prediction.top1
        plain = front.metric in ("latency_ms", "energy_mj")  # the column names the unit
        cost = f"{each.point.cost:.2f}" if plain else format_amount(front.metric, each.point.cost)
        cells = (
            cost,
            f"{top1.value:.2f} %" if top1 else "",
            f"{top1.low:.1f} - {top1.high:.1f}" if top1 else "",
            *((f"{latency.value:.2f}" if latency else "",) if timed else ()),
            format_count(each.prediction.network.macs),
            f"{each.point.proven.gap:.3f}",
            each.prediction.network.name,
        )
        rows.append(cells)
    columns = (
        COST_NAMES[front.metric],
        "top-1",
        "90 %",
        *(("ms",) if timed else ()),
        "MACs",
        "gap",
        "network",
    )
    return TextTable(columns, tuple(rows))


def front_remarks(front: Front) -> list[str]:
    """Say what is proven, and which published network the front beats by most."""
    worst = max(each.point.proven.gap for each in front.networks)
    proven = "each is the best" if not worst else f"none is beaten by more than {worst:.3f} points"
    said = [
        f"{len(front.networks)} of {front.searched:.3g} networks; {proven} for its budget, under the {front.kernel}"
        " accuracy predictor"
    ]
    bounds_energy = front.metric == "energy_mj" or "mj" in front.held.lower()
    if bounds_energy and (moved := _moved(front)):
        said.append(moved)
    gains = [(gain, each.network.name) for each in front.beside if (gain := _gain(front, each)) is not None]
    if gains:
        gain, name = max(gains)
        said.append(f"at the cost of {name}, the front is predicted {gain:+.1f} points of top-1")
    return said


def _moved(front: Front) -> str:
    """Say that a front of sums is not that of the predictor, where it is not."""
    energies = [each.prediction.energy for each in front.networks if each.prediction.energy]
    off = [abs(energy.value / energy.lut_mj - 1) for energy in energies if energy.model != "lut"]
    if not off:
        return ""
    model = next(energy.model for energy in energies if energy.model != "lut")
    return (
        f"mJ are sums over units, which add up; {model} moves these networks by {100 * max(off):.1f} % at most, and"
        " `search --budget` keeps a budget by it"
    )


def _gain(front: Front, beside: Prediction) -> float | None:
    """Return how much more accurate the front is at a network's cost; None where it does not say."""
    cost = cost_of(beside, front.metric)
    below = [each for each in front.networks if cost is not None and each.point.cost <= cost]
    if not below or beside.top1 is None:
        return None
    return below[-1].point.proven.top1 - beside.top1.value
