"""The published networks by name, with their accuracies and where those come from.

Structures and figures: ChamNet-A...F from the mobile-vision release [Dai2019]_, MobileNetV2 from the
TF-slim and Keras tables, MnasNet from its repository (A1) and torchvision (B1), ResNet from torchvision.
"""

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from chamnet.errors import ConfigError
from chamnet.networks.architecture import Architecture, Network

__all__ = ["PublishedNetwork", "find", "load_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNetwork:
    """A network somebody trained and published.

    Attributes:
        name: Such as `chamnet-a` or `mobilenet-v2-1.0-224`.
        family: Networks of one family share their authors' training recipe.
        architecture: Its numbers.
        top1: ImageNet top-1 in percent at f32; None where not known.
        top1_int8: The same at int8.
        source: Where the accuracy comes from.
        published_latency_ms: Device -> latency in ms, as published.
    """

    name: str
    family: str
    architecture: Architecture
    top1: float | None
    top1_int8: float | None
    source: str
    published_latency_ms: MappingProxyType[str, float]

    def build(self) -> Network:
        """Return the network."""
        return self.architecture.build(self.name)


@cache
def load_all() -> MappingProxyType[str, PublishedNetwork]:
    """Return every published network by name, in the order of the data file."""
    text = resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    networks = (_read(entry) for entry in json.loads(text)["networks"])
    return MappingProxyType({network.name: network for network in networks})


def find(name: str) -> PublishedNetwork:
    """Return a published network.

    Raises:
        ConfigError: No network of that name; the nearest names are listed.
    """
    networks = load_all()
    if name in networks:
        return networks[name]
    near = difflib.get_close_matches(name, networks, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise ConfigError(f"unknown network {name!r}; {hint}`chamnet-host networks` lists all {len(networks)}")


def _read(entry: dict[str, Any]) -> PublishedNetwork:
    return PublishedNetwork(
        name=entry["name"],
        family=entry["family"],
        architecture=Architecture.from_dict(entry["architecture"], entry["name"]),
        top1=entry["top1"],
        top1_int8=entry.get("top1_int8"),
        source=entry["source"],
        published_latency_ms=MappingProxyType(entry.get("published_latency_ms", {})),
    )
