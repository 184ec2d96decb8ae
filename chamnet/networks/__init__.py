"""Networks: their architectures, the blocks they are made of, and the published ones by name."""

from chamnet.networks.architecture import Architecture, Network, Stage
from chamnet.networks.published import PublishedNetwork, find, load_all

__all__ = ["Architecture", "Network", "PublishedNetwork", "Stage", "find", "load_all"]
