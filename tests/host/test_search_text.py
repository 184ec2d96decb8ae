"""What is said beside the answers of a search."""

from types import SimpleNamespace
from typing import Any

import pytest

from chamnet_host.search_text import answer_remarks


def answer(*, extrapolated: bool) -> Any:
    return SimpleNamespace(
        prediction=SimpleNamespace(top1=SimpleNamespace(basis="digits", extrapolated=extrapolated)),
        result=SimpleNamespace(status="optimal", interrupted=False, binding={}),
        budgets=SimpleNamespace(notes=[], constraints=[], text="8ms"),
        kernel="additive",
        networks=10,
    )


@pytest.mark.parametrize("extrapolated", [False, True])
def test_an_answer_far_from_all_trainings_comes_with_a_warning(extrapolated: bool) -> None:
    remarks = answer_remarks([answer(extrapolated=False), answer(extrapolated=extrapolated)])
    warned = [remark for remark in remarks if remark.startswith("extrapolated: far from every network")]
    assert len(warned) == extrapolated
    assert all("`chamnet-host train best:1`" in remark for remark in warned)
