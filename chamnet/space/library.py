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
_STAGE_KEYS = {"name", "expansion", "filters", "blocks", "kernel", "se", "stride"}
_FAMILIES = ("inverted_residual", "bottleneck")
_ACTIVATIONS = ("relu", "relu6", "")


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
    _check_value(raw, "family", _FAMILIES, source)
    _check_value({"activation": "relu", **raw}, "activation", _ACTIVATIONS, source)
    _check_value({"expand_at_e1": True, **raw}, "expand_at_e1", (True, False), source)
    _check_text(raw, source)
    space = SearchSpace(
        name=raw["name"],
        family=raw["family"],
        resolution=_axis("resolution", raw["resolution"], source),
        stem=_axis("stem", raw["stem"], source),
        stages=_read_stages(raw["stages"], source),
        head=_axis("head", raw.get("head", 0), source, lowest=0),
        activation=raw.get("activation", "relu"),
        expand_at_e1=raw.get("expand_at_e1", True),
        classes=_number(raw, "classes", source),
        batch=_number(raw, "batch", source),
    )
    _check_networks(space, source)
    return space


def _read_stages(raw: object, source: str) -> tuple[StageAxes, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(stage, dict) for stage in raw):
        raise ConfigError(f"space {source}: stages must be one or more [[stages]] tables")
    stages = tuple(_read_stage(stage, f"{source}, stage {i + 1}") for i, stage in enumerate(raw))
    names = [stage["name"] for stage in raw]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"space {source}: two stages are called {', '.join(map(repr, sorted(repeated)))}")
    return stages


def _read_stage(raw: Mapping[str, Any], source: str) -> StageAxes:
    _check_keys(raw, _STAGE_KEYS, {"name", "expansion", "filters", "blocks", "stride"}, source)
    _check_text(raw, source)
    axes = {
        key: _axis(f"{raw['name']}.{key}", raw[key], source) for key in ("expansion", "filters", "blocks")
    }
    kernel = _axis(f"{raw['name']}.kernel", raw.get("kernel", 3), source)
    if any(size % 2 == 0 for size in kernel.values):
        raise ConfigError(f"space {source}: {kernel.name} {raw['kernel']!r}: kernels must be odd")
    se = _switch(f"{raw['name']}.se", raw.get("se", False), source)
    return StageAxes(**axes, kernel=kernel, se=se, stride=_number(raw, "stride", source))


def _check_networks(space: SearchSpace, source: str) -> None:
    """Refuse a space in which some genome has no network."""
    if len(space.head.values) > 1 and not space.head.values[0]:
        raise ConfigError(f"space {source}: head cannot be both absent (0) and present")
    for stage in space.stages if space.family == "bottleneck" else ():
        few, most = stage.filters.values[0], stage.expansion.values[-1]
        if stage.kernel.values != (3,) or stage.se.values != (0,):
            raise ConfigError(
                f"space {source}: its networks cannot be built ({stage.kernel.name}, {stage.se.name}: a bottleneck has a"
                " kernel of 3 and no squeeze-excite)"
            )
        if few < most:
            raise ConfigError(
                f"space {source}: its networks cannot be built ({stage.filters.name}: {few} filters leave nothing at"
                f" expansion {most})"
            )
    for largest in (False, True):
        try:
            space.decode(space.extreme(largest=largest))
        except ValueError as error:
            raise ConfigError(f"space {source}: its networks cannot be built ({error})") from error


def _check_keys(raw: Mapping[str, Any], known: set[str], needed: set[str], source: str) -> None:
    if unknown := raw.keys() - known:
        raise ConfigError(f"space {source}: unknown keys {sorted(unknown)}; known: {sorted(known)}")
    if missing := needed - raw.keys():
        raise ConfigError(f"space {source}: missing keys {sorted(missing)}")


def _check_value(raw: Mapping[str, Any], key: str, known: tuple[object, ...], source: str) -> None:
    if not any(raw[key] is value or (isinstance(value, str) and raw[key] == value) for value in known):
        shown = ", ".join(str(value) or "empty" for value in known)
        raise ConfigError(f"space {source}: {key} {raw[key]!r}; known: {shown}")


def _check_text(raw: Mapping[str, Any], source: str) -> None:
    if not isinstance(raw["name"], str) or not raw["name"]:
        raise ConfigError(f"space {source}: name {raw['name']!r} is not a text")


def _number(raw: Mapping[str, Any], key: str, source: str) -> int:
    value = raw[key]
    if type(value) is not int or value < 1:  # a bool is an int, too
        raise ConfigError(f"space {source}: {key} {value!r} is not a whole number of at least 1")
    return value


def _switch(name: str, raw: object, source: str) -> Axis:
    """Read `true`, `false`, or a list of both."""
    values = raw if isinstance(raw, list) else [raw]
    if not values or any(type(value) is not bool for value in values) or len(set(values)) < len(values):
        raise ConfigError(f"space {source}: {name} is not true, false or [false, true]: {raw!r}")
    return Axis(name, tuple(sorted(1 if value else 0 for value in values)))


def _axis(name: str, raw: object, source: str, lowest: int = 1) -> Axis:
    """Read one value, a list of values, or a range `{from, to, step}` with both ends included."""
    match raw:
        case int() if type(raw) is int:  # a bool is an int, too
            values: tuple[int, ...] = (raw,)
        case {"from": int(first), "to": int(last), "step": int(step), **rest} if step > 0 and not rest:
            values = tuple(range(first, last + 1, step))
        case list() if all(type(value) is int for value in raw):
            values = tuple(raw)
        case _:
            raise ConfigError(
                f"space {source}: {name} is not a number, a list or {{from, to, step}}: {raw!r}"
            )
    if not values or min(values) < lowest or list(values) != sorted(set(values)):
        raise ConfigError(f"space {source}: {name} needs ascending values of at least {lowest}: {raw!r}")
    return Axis(name, values)
