"""NVIDIA graphics cards: the energy that their driver counts, read through NVML (`pip install nvidia-ml-py`).

Since Volta a card counts mJ since its driver was loaded; before, it tells its power in mW, which is sampled. Both are
of the whole board. The counter moves every 20 to 100 ms; on A100 and H100 the power behind it is sampled for about a
quarter of the time only, so that work in step with the sampling is counted wrong: measure several windows of different
phase [Yang2024]. Rails are named by the card's UUID, which stays when cards are added; the backends compute on card 0.

[Yang2024]: Part-time power measurements: nvidia-smi's lack of attention. SC 2024, arXiv:2312.02741.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from chamnet.energy import Rail, Reading
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings

__all__ = ["NvmlMeter"]

_UJ_PER_MJ = 1_000.0
_MILLI = 1e-3


@dataclass(frozen=True, slots=True)
class _Card:
    """A graphics card."""

    handle: Any
    uuid: str
    counts: bool
    chosen: bool


class NvmlMeter:
    """The cards that NVML knows."""

    period_s = 0.1
    shortest_poll_s = 0.01
    on_read = False

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        self._nvml = _started()
        try:
            self._cards = _found(self._nvml, settings)
        except BaseException:
            self._nvml.nvmlShutdown()
            raise
        self._open = True
        self.rails = tuple(
            Rail(
                name=card.uuid,
                nature="counter" if card.counts else "power",
                domain="gpu",
                totals=frozenset({"compute"}) if card.chosen else frozenset(),
            )
            for card in self._cards
        )

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether there is a card whose energy can be read."""
        component = Component(name="nvml", provider="NVML")
        try:
            nvml = _started()
        except MeterError as error:
            return Component(name="nvml", provider="NVML", why_not=str(error))
        try:
            _found(nvml, settings)
            driver = _text(nvml.nvmlSystemGetDriverVersion())
            component = Component(name="nvml", version=driver, provider="NVML")
        except (MeterError, nvml.NVMLError) as error:
            component = Component(name="nvml", provider="NVML", why_not=str(error))
        finally:
            nvml.nvmlShutdown()
        return component

    def read(self) -> Sequence[Reading]:
        """Return the energy or the power of every card.

        Raises:
            MeterError: A card fell off its bus, or the driver is being unloaded.
        """
        with _translated(self._nvml):
            return (Reading(tuple(self._value(card) for card in self._cards)),)

    def close(self) -> None:
        """Shut NVML down."""
        if self._open:
            self._open = False
            self._nvml.nvmlShutdown()

    def _value(self, card: _Card) -> float:
        if card.counts:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(card.handle)) * _UJ_PER_MJ
        return float(self._nvml.nvmlDeviceGetPowerUsage(card.handle)) * _MILLI


def _started() -> Any:
    try:
        nvml = import_module("pynvml")
    except ImportError as error:
        raise MeterError("needs the package nvidia-ml-py: pip install nvidia-ml-py") from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise MeterError(f"NVML does not start: {error}; is there an NVIDIA card with its driver?") from error
    return nvml


def _found(nvml: Any, settings: MeterSettings) -> list[_Card]:
    with _translated(nvml):
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    if not handles:
        raise MeterError("NVML knows no card")
    known = {str(index): uuid for index, uuid in enumerate(uuids)} | {uuid: uuid for uuid in uuids}
    if unknown := [gpu for gpu in settings.gpus if gpu not in known]:
        raise MeterError(f"there is no card {unknown[0]!r}; there is {', '.join(known)}")
    chosen = {known[gpu] for gpu in settings.gpus}
    cards = []
    for handle, uuid in zip(handles, uuids, strict=True):
        if (counts := _counts(nvml, handle)) is not None:
            cards.append(_Card(handle, uuid, counts, uuid in chosen))
        elif uuid in chosen:
            raise MeterError(f"card {uuid} tells neither its energy nor its power")
    return cards


def _counts(nvml: Any, handle: Any) -> bool | None:
    """Return whether a card counts its energy; None if it does not even tell its power."""
    with _translated(nvml):
        for call, counts in (
            (nvml.nvmlDeviceGetTotalEnergyConsumption, True),
            (nvml.nvmlDeviceGetPowerUsage, False),
        ):
            try:
                call(handle)
            except nvml.NVMLError_NotSupported:
                continue
            return counts
    return None


@contextmanager
def _translated(nvml: Any) -> Iterator[None]:
    try:
        yield
    except nvml.NVMLError as error:
        raise MeterError(f"NVML: {error}; nvidia-smi may say more") from error


def _text(said: str | bytes) -> str:
    """Return text: older packages give bytes."""
    return said.decode() if isinstance(said, bytes) else said
