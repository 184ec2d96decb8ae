"""Names of backends and meters -> classes, loaded when asked for.

Third parties add theirs through the entry-point groups `chamnet.backends` and `chamnet.meters`; a built-in name
wins over theirs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol, cast

from chamnet.errors import ConfigError, MeterError
from chamnet.records import Component
from chamnet_agent.backends.base import Backend
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings, PowerMeter
from chamnet_agent.settings import DEFAULTS, BackendSettings

__all__ = [
    "BACKENDS",
    "METERS",
    "backends",
    "default_backend",
    "load_backend",
    "load_meter",
    "meters",
    "open_meter",
    "why_not",
]

BACKENDS = {
    "onnxruntime": "chamnet_agent.backends.onnxruntime:OnnxRuntimeBackend",
    "onnxruntime-cuda": "chamnet_agent.backends.onnxruntime_accelerators:OnnxRuntimeCudaBackend",
    "onnxruntime-qnn": "chamnet_agent.backends.onnxruntime_accelerators:OnnxRuntimeQnnBackend",
    "litert": "chamnet_agent.backends.litert:LiteRtBackend",
    "torch": "chamnet_agent.backends.torch:TorchBackend",
    "torch-cuda": "chamnet_agent.backends.torch_cuda:TorchCudaBackend",
    "native-tool": "chamnet_agent.backends.native_tool:NativeToolBackend",
}

METERS = {
    "rapl": "chamnet_agent.power.rapl:RaplMeter",
    "nvml": "chamnet_agent.power.nvml:NvmlMeter",
    "ina3221": "chamnet_agent.power.ina3221:Ina3221Meter",
    "hwmon": "chamnet_agent.power.hwmon:HwmonMeter",
    "pixel": "chamnet_agent.power.pixel:PixelMeter",
    "perfetto": "chamnet_agent.power.perfetto:PerfettoMeter",
    "battery": "chamnet_agent.power.battery:BatteryMeter",
    "trace": "chamnet_agent.power.trace_file:TraceMeter",
}


class Described(Protocol):
    """A plug-in class: says what it is without loading what it needs."""

    @staticmethod
    def describe(*arguments: MeterSettings) -> Component:
        """Return name, version and whether it is usable here; meters are given their settings."""
        ...


def backends(settings: BackendSettings = DEFAULTS) -> tuple[Component, ...]:
    """Return every known backend, usable or not."""
    return tuple(_described(_targets("chamnet.backends", BACKENDS), settings=settings))


def meters(settings: MeterSettings = DEFAULT_SETTINGS) -> tuple[Component, ...]:
    """Return every known meter, usable with these settings or not."""
    described = _described(_targets("chamnet.meters", METERS), settings)
    return tuple(_timed(meter, settings) for meter in described)


def _timed(meter: Component, settings: MeterSettings) -> Component:
    """Return a meter's description with the time between its updates."""
    if meter.why_not is not None:
        return meter
    try:
        always_s = getattr(load_meter(meter.name), "period_s", None)
        if isinstance(always_s, float):  # then it need not be opened, which starts a recording of some
            return replace(meter, period_s=always_s)
        opened = open_meter(meter.name, settings)
    except (MeterError, ConfigError, OSError) as error:  # it works no more than it did a moment ago
        return replace(meter, why_not=str(error))
    try:
        return replace(meter, period_s=opened.period_s)
    finally:
        opened.close()


def why_not(name: str) -> str | None:
    """Return None if a backend or meter is usable here, else the reason.

    Raises:
        ConfigError: There is no such backend or meter.
    """
    known = {each.name: each for each in (*backends(), *meters())}
    if name not in known:
        raise ConfigError(f"unknown backend or meter {name!r}; known: {', '.join(sorted(known))}")
    return known[name].why_not


def default_backend(settings: BackendSettings = DEFAULTS) -> str:
    """Return the first usable backend.

    Raises:
        ConfigError: None is usable; says what to install.
    """
    known = backends(settings)
    for each in known:
        if each.why_not is None:
            return each.name
    reasons = "; ".join(f"{each.name}: {each.why_not}" for each in known)
    raise ConfigError(f"no backend is usable here: {reasons}")


def load_backend(name: str, settings: BackendSettings = DEFAULTS) -> type[Backend]:
    """Return the class of a backend, with the settings if it takes any.

    Raises:
        ConfigError: There is no such backend, or it is not usable here; says why.
    """
    targets = _targets("chamnet.backends", BACKENDS)
    if name not in targets:
        raise ConfigError(f"unknown backend {name!r}; known: {', '.join(sorted(targets))}")
    backend = cast(type[Backend], _with(settings, _load(targets[name])))
    if reason := backend.describe().why_not:
        raise ConfigError(f"backend {name!r} is not usable here: {reason}")
    return backend


def load_meter(name: str) -> type[PowerMeter]:
    """Return the class of a meter.

    Raises:
        ConfigError: There is no such meter.
    """
    targets = _targets("chamnet.meters", METERS)
    if name not in targets:
        raise ConfigError(f"unknown meter {name!r}; known: {', '.join(sorted(targets))}")
    return cast(type[PowerMeter], _load(targets[name]))


def open_meter(name: str, settings: MeterSettings = DEFAULT_SETTINGS) -> PowerMeter:
    """Return a meter, open.

    Raises:
        ConfigError: There is no such meter.
        MeterError: It is not usable here; says why.
    """
    meter = load_meter(name)
    if reason := meter.describe(settings).why_not:
        raise MeterError(f"meter {name!r} is not usable here: {reason}")
    return meter(settings)


def _targets(group: str, own: Mapping[str, str]) -> dict[str, str]:
    return {each.name: each.value for each in entry_points(group=group)} | dict(own)


def _described(
    targets: Mapping[str, str], *arguments: MeterSettings, settings: BackendSettings = DEFAULTS
) -> Iterator[Component]:
    for name, target in targets.items():
        try:
            described = cast(Described, _with(settings, _load(target))).describe(*arguments)
        except (ConfigError, OSError) as error:  # a broken or refused plug-in must not take the agent down
            described = Component(name=name, why_not=str(error))
        yield described


def _with(settings: BackendSettings, loaded: object) -> object:
    """Return a class with the settings in its attribute `settings`, where it has one."""
    if isinstance(loaded, type) and isinstance(getattr(loaded, "settings", None), BackendSettings):
        return type(loaded.__name__, (loaded,), {"settings": settings})
    return loaded


def _load(target: str) -> object:
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"plug-in {target} does not load: {error}; reinstall or remove its package"
        ) from error
