"""Search spaces: data, genomes, and the vectorised view of all their networks."""

from chamnet.space.chain import UnitGrid, unit_grid
from chamnet.space.costs import CostTables
from chamnet.space.library import available_spaces, load_space
from chamnet.space.sizes import draw_tilted, spread_sizes
from chamnet.space.space import Genome, Levels, SearchSpace

__all__ = [
    "CostTables",
    "Genome",
    "Levels",
    "SearchSpace",
    "UnitGrid",
    "available_spaces",
    "draw_tilted",
    "load_space",
    "spread_sizes",
    "unit_grid",
]
