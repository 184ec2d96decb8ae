"""What a user names on the command line: networks by name, genome, file, or the last search's winners."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chamnet.errors import ConfigError
from chamnet.lut import Store
from chamnet.networks import Architecture, Network, find, load_all
from chamnet.space import SearchSpace

__all__ = ["LAST_SEARCH", "is_published", "published_networks", "read_network", "read_networks"]

LAST_SEARCH = "last_search"  # where a workspace keeps what `search` found


def read_networks(texts: list[str], space: SearchSpace, last_search: str | None) -> list[Network]:
    """Return the networks that words on the command line mean, each once.

    Args:
        texts: Each a published name, a genome of `space`, a JSON file (an architecture, or what `search`
            wrote), `best` for the winners of the last search, or `best:2` for one of them.
        space: Space of the genomes; its element type is that of every network returned.
        last_search: JSON of the last search in this workspace; None if there was none.

    Raises:
        ConfigError: A word means no network; says what would.
    """
    networks: dict[str, Network] = {}
    for text in texts:
        for network in _read(text, space, last_search):
            cast = network.cast(space.dtype)
            networks.setdefault(cast.digest, cast)
    return list(networks.values())


def read_network(text: str, space: SearchSpace, db: Path) -> Network:
    """Return the one network that a word means; see `read_networks`.

    Args:
        text: The word.
        space: Of genomes.
        db: The store of the last search, which need not be there.

    Raises:
        ConfigError: The word means no network, or several.
        StoreError: The store cannot be read.
    """
    last_search = None
    if db.exists():
        with Store.open(db) as store:
            last_search = store.get(LAST_SEARCH)
    networks = read_networks([text], space, last_search)
    if len(networks) > 1:
        names = ", ".join(each.name for each in networks)
        raise ConfigError(
            f"{text}: holds {len(networks)} networks, one is wanted, such as best:1 or a genome: {names}"
        )
    return networks[0]


def is_published(network: Network) -> bool:
    """Return whether a network is a published one, of its name and structure."""
    published = load_all().get(network.name)
    return published is not None and published.architecture == replace(
        network.architecture, batch=published.architecture.batch, dtype=published.architecture.dtype
    )


def published_networks(space: SearchSpace) -> list[Network]:
    """Return every published network, with the element type of a space."""
    return [published.build().cast(space.dtype) for published in load_all().values()]


def _read(text: str, space: SearchSpace, last_search: str | None) -> list[Network]:
    if text == "best" or text.startswith("best:"):
        if last_search is None:
            raise ConfigError(
                "best: nothing was searched in this workspace yet; run `chamnet-host search --budget 20ms`"
            )
        winners = _from_data(json.loads(last_search), "best")
        return winners if text == "best" else [_pick(winners, text)]
    if text.endswith(".json"):
        try:
            data = json.loads(Path(text).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{text}: cannot be read as JSON ({error})") from error
        return _from_data(data, text)
    if text[:1].isdecimal() and all(part.isdecimal() for part in text.replace(",", "-").split("-")):
        return [space.decode(space.parse_genome(text))]
    return [find(text).build()]


def _pick(winners: list[Network], text: str) -> Network:
    number = text.removeprefix("best:")
    if not number.isdecimal() or not 1 <= int(number) <= len(winners):
        raise ConfigError(f"{text}: the last search has {len(winners)} answers; best:1 is the first")
    return winners[int(number) - 1]


def _from_data(data: object, source: str) -> list[Network]:
    """Read an architecture, or the answers of a search."""
    if isinstance(data, Mapping) and "answers" in data:
        return [_from_answer(answer, source) for answer in data["answers"]]
    if isinstance(data, Mapping) and "stages" in data:
        architecture = Architecture.from_dict(data, source)
        return [architecture.build(Path(source).stem)]
    raise ConfigError(
        f"{source}: neither an architecture (with `stages`) nor what `chamnet-host search --json` writes"
    )


def _from_answer(answer: Mapping[str, Any], source: str) -> Network:
    try:
        architecture = Architecture.from_dict(answer["architecture"], source)
        return architecture.build(str(answer["network"]))
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{source}: an answer without {error}; write it anew with `chamnet-host search`"
        ) from error
