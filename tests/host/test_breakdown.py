"""Networks taken apart: MACs by stage as decoded from the released graphs, and nothing lost."""

import pytest

from chamnet.networks import find, load_all
from chamnet_host.breakdown import break_down, stage_names
from chamnet_host.pages.breakdown import breakdown_html
from chamnet_host.prediction import Prediction

# MACs in millions of stem, stages 1 to 7, head and classifier: section 7.2 of the ChamNet fact sheet
ORACLES = {
    "chamnet-a": (10.838, 26.092, 88.310, 88.247, 56.561, 102.484, 77.224, 53.736, 47.416, 2.016),
    "chamnet-c": (5.419, 8.229, 19.468, 24.963, 14.896, 58.104, 46.560, 13.328, 19.067, 1.520),
    "chamnet-f": (0.885, 0.819, 2.130, 8.151, 1.450, 5.646, 3.781, 2.695, 3.932, 1.280),
    "mobilenet-v2-1.0-224": (10.838, 10.035, 54.943, 37.444, 38.498, 58.104, 46.560, 23.003, 20.070, 1.280),
}


def taken_apart(name: str) -> Prediction:
    return Prediction(network=find(name).build(), latency=None, measured=None, top1=None)


@pytest.mark.parametrize("name", ORACLES)
def test_macs_by_stage_are_those_of_the_released_networks(name: str) -> None:
    stages = break_down(taken_apart(name)).stages
    assert [share.name for share in stages] == [
        "stem", *(f"stage {i}" for i in range(1, 8)), "head", "classifier",
    ]  # fmt: skip
    assert [share.macs / 1e6 for share in stages] == pytest.approx(ORACLES[name], abs=5e-4)


def test_chamnet_moved_compute_to_later_stages() -> None:
    """The first three take 15.7 % of ChamNet-C's MACs and 25.2 % of MobileNetV2's."""
    first = {
        name: sum(share.macs for share in break_down(taken_apart(name)).stages[:3]) / find(name).build().macs
        for name in ("chamnet-c", "mobilenet-v2-1.0-224")
    }
    assert first["chamnet-c"] == pytest.approx(0.157, abs=5e-4)
    assert first["mobilenet-v2-1.0-224"] == pytest.approx(0.252, abs=5e-4)


@pytest.mark.parametrize("name", load_all())
def test_nothing_is_lost(name: str) -> None:
    parts = break_down(taken_apart(name))
    assert len(stage_names(parts.prediction.network)) == len(parts.prediction.network.blocks)
    assert sum(share.macs for share in parts.stages) == parts.prediction.network.macs
    assert sum(share.macs for share in parts.sizes) == parts.prediction.network.macs
    assert parts.sizes[-1].name == "1 x 1"
    assert all(share.latency_ms is None for share in (*parts.stages, *parts.sizes))


def test_the_page_has_a_bar_for_each_stage_and_network() -> None:
    parts = [break_down(taken_apart(name)) for name in ("chamnet-c", "mobilenet-v2-1.0-224")]
    page = breakdown_html(parts, "nowhere")
    assert page.count("<rect") == 2 * (len(parts[0].stages) + len(parts[0].sizes)) + 2 * 2
    assert "ms</h3>" not in page, "there are no latencies to draw"
