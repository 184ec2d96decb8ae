"""What is said beside the answers of a search."""

from types import SimpleNamespace
from typing import Any

import pytest

from chamnet_host.texts.search import answer_remarks, front_table


def answer(*, extrapolated: bool) -> Any:
    return SimpleNamespace(
        prediction=SimpleNamespace(top1=SimpleNamespace(basis="digits", extrapolated=extrapolated)),
        result=SimpleNamespace(status="optimal", interrupted=False, binding={}),
        budgets=SimpleNamespace(notes=[], constraints=[], text="8ms"),
        kernel="additive",
        correction=None,
        networks=10,
    )


@pytest.mark.parametrize("extrapolated", [False, True])
def test_an_answer_far_from_all_trainings_comes_with_a_warning(extrapolated: bool) -> None:
    remarks = answer_remarks([answer(extrapolated=False), answer(extrapolated=extrapolated)])
    warned = [remark for remark in remarks if remark.startswith("extrapolated: far from every network")]
    assert len(warned) == extrapolated
    assert all("`chamnet-host train best:1`" in remark for remark in warned)


@pytest.mark.parametrize("count", [1, 2, 7, 16, 17, 64])
def test_a_front_is_shown_from_its_first_network_to_its_last(count: int) -> None:
    def network(number: int) -> Any:
        prediction = SimpleNamespace(
            latency=None, top1=None, network=SimpleNamespace(name=f"n{number}", macs=1e6)
        )
        point = SimpleNamespace(cost=float(number + 1), proven=SimpleNamespace(gap=0.0))
        return SimpleNamespace(prediction=prediction, point=point)

    front: Any = SimpleNamespace(metric="energy_mj", networks=[network(i) for i in range(count)])
    names = [row[-1] for row in front_table(front).rows]
    assert (names[0], names[-1]) == ("n0", f"n{count - 1}")
    assert len(set(names)) == len(names) == min(count, 16)
