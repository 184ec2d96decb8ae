"""Parts of a space: the same networks at the same cost, and nothing else."""

import numpy as np
import pytest

from chamnet.errors import ConfigError
from chamnet.space import load_space, unit_grid

MOBILE = load_space("chamnet-mobile")


def test_every_network_of_a_part_keeps_what_was_settled_and_its_cost() -> None:
    part = MOBILE.restricted({"resolution": 192, "irf5.blocks": 2}, channel_multiple=32)
    grid = unit_grid(MOBILE)
    whole = grid.tables([unit.macs for unit in grid.units])
    levels = part.sample(50, np.random.default_rng(0))
    costs = whole.restricted(part).total(levels)
    for genome, cost in zip(part.genomes(levels), costs, strict=True):
        architecture = part.architecture(genome)
        assert architecture.resolution == 192
        assert architecture.stages[4].blocks == 2
        filters = (architecture.stem, *(stage.filters for stage in architecture.stages), architecture.head)
        assert all(count % 32 == 0 for count in filters)
        assert MOBILE.holds(architecture)
        assert part.decode(genome).macs == cost
    assert part.cardinality < MOBILE.cardinality


@pytest.mark.parametrize(
    ("fixed", "multiple", "words"),
    [
        ({"resolution": 200}, 1, "resolution = 200: chamnet-mobile has 96, 128, 160, 192, 224"),
        ({"width": 2}, 1, "no axis 'width'"),
        ({}, 64, "no value of stem in chamnet-mobile is a multiple of 64"),
        ({"irf2.filters": 8}, 16, "no value of irf2.filters"),
    ],
)
def test_what_leaves_nothing_is_refused(fixed: dict[str, int], multiple: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        MOBILE.restricted(fixed, channel_multiple=multiple)
