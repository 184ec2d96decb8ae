"""The power monitors of Monsoon Solutions, HVPM (black) and LVPM (white), on this machine's USB, through their maker's package `monsoon`.

The main channel feeds the device in the place of its battery. The monitor takes 5,000 samples a second, by a clock of its own,
and now and then one for its calibration instead. So samples are told by the time at which their batch arrived here,
never by their number, and averaged to points of 1 ms. What the package offers for collecting them is used as it is
documented: `periodicStartSampling`, `periodicCollectSamples`, `periodicStopSampling`.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module, metadata
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.clock import Clock
from chamnet.energy import Rail, Reading
from chamnet.errors import ConfigError, MeterError
from chamnet.records import Component

__all__ = ["MonsoonMeter"]

log = logging.getLogger(__name__)

_VOLTS = 4.2  # of the paper, and of a full lithium-ion cell
_LEAST_V, _MOST_V = 0.8, 13.5  # what the monitors can give
_HZ = 5_000
_BATCH = 250  # samples: 50 ms; three are thrown away before each
_POINT_S = 0.001
_CREEP = 0.05  # share of a batch's length by which it may end later than the one before led to expect
_LOST_BATCHES = 10  # that much later, samples are missing between
_JOIN_S = 10.0
_W_PER_MA_V = 1e-3

Powers = npt.NDArray[np.float64]


class MonsoonMeter:
    """What the monitor's main channel gives; sampled in a thread from when it is opened."""

    rails = (Rail(name="main", nature="power", domain="device", totals=frozenset({"device"})),)
    period_s = _POINT_S
    shortest_poll_s = 0.02
    on_read = True
    settle_s = 5.0

    def __init__(self, argument: str, *, clock: Clock) -> None:
        volts = _volts(argument)
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: list[Reading] = []
        self._failure: MeterError | None = None
        self._stop = threading.Event()
        with _translated():
            monitor = _connected()
            monitor.stopSampling()  # a run that was killed has left it sampling, and then it takes no command
            monitor.setVout(volts)
            monitor.setUSBPassthroughMode(
                _operations().USB_Passthrough.Auto
            )  # none while it samples: it would charge
            self._engine, self._channels = _engine(monitor)
            if self._engine.periodicStartSampling() is False:
                raise MeterError(f"monsoon: the monitor does not calibrate itself; {_REPLUG}")
        self._thread = threading.Thread(target=self._sample, name="monsoon", daemon=True)
        self._thread.start()

    @staticmethod
    def describe(argument: str) -> Component:
        """Return whether package, monitor and permission are there. Leaves the monitor as it is."""
        provider = f"Monsoon power monitor, main channel at {_volts(argument):g} V"
        try:
            with _translated():
                _serial(import_module("Monsoon.HVPM").Monsoon())
                version = metadata.version("monsoon")
        except MeterError as error:
            return Component(name="monsoon", provider=provider, why_not=str(error))
        return Component(name="monsoon", version=version, provider=provider, period_s=_POINT_S)

    def read(self) -> Sequence[Reading]:
        """Return the points that were collected since the last call.

        Raises:
            MeterError: The monitor gave no more, as when its cable was pulled.
        """
        with self._lock:
            pending, self._pending = self._pending, []
        if not pending and self._failure is not None:
            raise self._failure
        return pending

    def close(self) -> None:
        """Stop sampling. The device stays fed: the monitor's own reset, which would switch it off, is left out."""
        self._stop.set()
        self._thread.join(_JOIN_S)
        if self._engine is not None:
            engine, self._engine = self._engine, None
            try:
                with _translated():
                    engine.periodicStopSampling()
            except MeterError as error:
                log.warning("%s", error)

    def _sample(self) -> None:
        """Collect batches until told to stop; note why there are no more."""
        try:
            with _errors_translated():
                self._collect()
        except MeterError as error:
            self._failure = error
        finally:
            self._failure = self._failure or MeterError(f"monsoon: sampling has ended; {_REPLUG}")

    def _collect(self) -> None:
        times, dropped = _Times(), self._engine.dropped
        while not self._stop.is_set():
            samples = self._engine.periodicCollectSamples(_BATCH)
            now_ns, power_w = self._clock.now_ns(), _power_w(samples, self._channels)
            if len(power_w) == 0:
                continue
            lost, dropped = self._engine.dropped != dropped, self._engine.dropped
            if lost:
                log.info("monsoon: samples were lost, this machine is busy")
            readings = _points(power_w, *times.of_batch(now_ns, len(power_w), lost=lost))
            with self._lock:
                self._pending += readings


class _Times:
    """Tells when batches were sampled, from when they arrived: never before their end, mostly soon after, at times late."""

    def __init__(self) -> None:
        self._end_ns: int | None = None

    def of_batch(self, arrived_ns: int, samples: int, *, lost: bool = False) -> tuple[int, int]:
        """Return start and end of a batch.

        It starts where the last one ended, and ends when it arrived, or earlier if that was late. Where samples were lost before
        it, it ends when it arrived.
        """
        length_ns = samples * 1_000_000_000 // _HZ
        start_ns = arrived_ns - length_ns
        if self._end_ns is None or lost or start_ns - self._end_ns > _LOST_BATCHES * length_ns:
            start_ns = max(start_ns, self._end_ns or start_ns)
            self._end_ns = arrived_ns
        else:
            start_ns = self._end_ns
            self._end_ns = min(arrived_ns, start_ns + round(length_ns * (1 + _CREEP)))
        return start_ns, self._end_ns


def _points(power_w: Powers, start_ns: int, end_ns: int) -> list[Reading]:
    """Return the means of a batch's samples, each at the middle of its stretch of time."""
    count = max(round((end_ns - start_ns) / 1e9 / _POINT_S), 1)
    parts = np.array_split(power_w, min(count, len(power_w)))
    each_ns = (end_ns - start_ns) / len(parts)
    times_ns = [round(start_ns + (i + 0.5) * each_ns) for i in range(len(parts))]
    return [
        Reading((float(part.mean()),), t_ns=t_ns, stamp=t_ns)
        for t_ns, part in zip(times_ns, parts, strict=True)
    ]


def _power_w(samples: Any, channels: Any) -> Powers:
    current_ma = np.asarray(samples[channels.MainCurrent], dtype=float)
    voltage_v = np.asarray(samples[channels.MainVoltage], dtype=float)
    power_w: Powers = current_ma * voltage_v * _W_PER_MA_V
    return power_w


def _connected() -> Any:
    """Return the only monitor, connected, by the class of its model."""
    hvpm, pmapi = import_module("Monsoon.HVPM"), import_module("Monsoon.pmapi")
    monitor = hvpm.Monsoon()
    serial = _serial(monitor)
    monitor.setup_usb(serial, pmapi.USB_protocol())
    if monitor.Protocol.getValue(_operations().OpCodes.HardwareModel, 2) == _operations().HardwareModel.LVPM:
        protocol = monitor.Protocol
        monitor = import_module("Monsoon.LVPM").Monsoon()
        monitor.setup_usb(serial, protocol)
    return monitor


def _operations() -> Any:
    return import_module("Monsoon.Operations")


def _serial(monitor: Any) -> str:
    try:
        serials = [str(each) for each in monitor.enumerateDevices()]
    except (OSError, ValueError) as error:  # of pyusb: a monitor that may not be opened; no libusb
        raise MeterError(f"monsoon: {error}; {_HELP}") from error
    if not serials:
        raise MeterError("monsoon: no power monitor is on this machine's USB; plug it in and switch it on")
    if len(serials) > 1:
        raise MeterError(
            f"monsoon: {len(serials)} power monitors are on this machine's USB ({', '.join(serials)}); leave one"
        )
    return serials[0]


def _engine(monitor: Any) -> tuple[Any, Any]:
    module = import_module("Monsoon.sampleEngine")
    engine = module.SampleEngine(monitor)
    engine.ConsoleOutput(False)
    engine.disableCSVOutput()
    return engine, module.channels


_REPLUG = "take it off its USB and supply for a moment, and try again"
_HELP = (
    "libusb-1.0 must be installed, and this user may have to be allowed to open USB devices 2ab9:0001"
    " (docs/energy.md has the udev rule)"
)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the package's errors as ours, and keep what it prints out of the output; for the main thread."""
    said = StringIO()
    try:
        with redirect_stdout(said), _errors_translated():
            yield
    finally:
        if text := said.getvalue().strip():
            log.info("monsoon: %s", text)


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except MeterError:
        raise
    except ImportError as error:
        raise MeterError(
            f"monsoon: its package is not installed ({error}); pip install 'chamnet[monsoon]'"
        ) from error
    except (
        OSError,
        ValueError,
    ) as error:  # of pyusb: USBError is an OSError; of the package: a monitor out of order
        raise MeterError(f"monsoon: {error}") from error


def _volts(argument: str) -> float:
    try:
        volts = float(argument or _VOLTS)
    except ValueError as error:
        raise ConfigError(
            f"meter monsoon:{argument}: give the volts of its main channel, as in monsoon:4.2"
        ) from error
    if not _LEAST_V <= volts <= _MOST_V:
        raise ConfigError(f"meter monsoon:{argument}: its main channel gives {_LEAST_V} to {_MOST_V} V")
    return volts
