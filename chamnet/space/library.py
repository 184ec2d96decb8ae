"""Search spaces as data: TOML files, shipped or the user's own."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from chamnet.errors import ConfigError
from chamnet.space.space import Axis, SearchSpace, StageAxes

__all__ = ["available_spaces", "load_space"]

_KEYS = {
    "name",
    "family",
    "activation",
    "expand_at_e1",
    "classes",
    "batch",
    "resolution",
    "stem",
    "head",
    "stages",
}
_STAGE_KEYS = {"name", "expansion", "filters", "blocks", "stride", "kernel"}


def available_spaces() -> list[str]:
    """Return the names of the shipped spaces."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_space(name: str, *, batch: int = 1, classes: int = 1000) -> SearchSpace:
    """Return a shipped space by name, or one from a TOML file by path.

    Raises:
        ConfigError: No such space or file, or the file says something it should not.
    """
    if name in available_spaces():
        text = resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"space {name}: cannot be read ({error})") from error
    else:
        raise ConfigError(f"unknown space {name!r}; known: {', '.join(available_spaces())}, or a .toml file")
    try:
        return _read({"batch": batch, "classes": classes, **tomllib.loads(text)}, name)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"space {name}: not TOML ({error})") from error


def _read(raw: Mapping[str, Any], source: str) -> SearchSpace:
    _check_keys(raw, _KEYS, {"name", "family", "resolution", "stem", "stages"}, source)
    if raw["family"] not in ("inverted_residual", "bottleneck"):
        raise ConfigError(f"space {source}: family {raw['family']!r}; known: inverted_residual, bottleneck")
    if raw.get("activation", "relu") not in ("", "relu", "relu6"):
        raise ConfigError(f"space {source}: activation {raw['activation']!r}; known: relu, relu6, or empty")
    stages = tuple(_read_stage(stage, f"{source}, stage {i + 1}") for i, stage in enumerate(raw["stages"]))
    space = SearchSpace(
        name=raw["name"],
        family=raw["family"],
        resolution=_axis("resolution", raw["resolution"], source),
        stem=_axis("stem", raw["stem"], source),
        stages=stages,
        head=_axis("head", raw.get("head", 0), source, lowest=0),
        activation=raw.get("activation", "relu"),
        expand_at_e1=raw.get("expand_at_e1", True),
        classes=raw["classes"],
        batch=raw["batch"],
    )
    for largest in (False, True):
        try:
            space.decode(space.extreme(largest=largest))
        except ValueError as error:
            raise ConfigError(f"space {source}: its networks cannot be built ({error})") from error
    return space


def _read_stage(raw: Mapping[str, Any], source: str) -> StageAxes:
    _check_keys(raw, _STAGE_KEYS, {"name", "expansion", "filters", "blocks", "stride"}, source)
    axes = {
        key: _axis(f"{raw['name']}.{key}", raw[key], source) for key in ("expansion", "filters", "blocks")
    }
    return StageAxes(**axes, stride=raw["stride"], kernel=raw.get("kernel", 3))


def _check_keys(raw: Mapping[str, Any], known: set[str], needed: set[str], source: str) -> None:
    if unknown := raw.keys() - known:
        raise ConfigError(f"space {source}: unknown keys {sorted(unknown)}; known: {sorted(known)}")
    if missing := needed - raw.keys():
        raise ConfigError(f"space {source}: missing keys {sorted(missing)}")


def _axis(name: str, raw: object, source: str, lowest: int = 1) -> Axis:
    """Read one value, a list of values, or a range `{from, to, step}` with both ends included."""
    match raw:
        case int():
            values: tuple[int, ...] = (raw,)
        case {"from": int(first), "to": int(last), "step": int(step), **rest} if step > 0 and not rest:
            values = tuple(range(first, last + 1, step))
        case list() if all(isinstance(value, int) for value in raw):
            values = tuple(raw)
        case _:
            raise ConfigError(
                f"space {source}: {name} is not a number, a list or {{from, to, step}}: {raw!r}"
            )
    if not values or min(values) < lowest or list(values) != sorted(set(values)):
        raise ConfigError(f"space {source}: {name} needs ascending values of at least {lowest}: {raw!r}")
    return Axis(name, values)
