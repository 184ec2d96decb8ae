"""A simulated device, and the package `monsoon` with what is documented of it, and monitors plugged in as a test says."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from chamnet.testing import FakeClock
from chamnet_agent.server import RunningAgent
from chamnet_agent.testing import Script
from chamnet_host.client import DeviceClient
from tests.host.external.simulated import SPENDS_UJ, TAKES_NS

HZ, MODEL = 5_000, 0x45


@dataclass
class Usb:
    """What is plugged in, and what was done to it."""

    serials: list[str] = field(default_factory=lambda: ["10001"])
    model: int = 2
    refuses: Exception | None = None
    current_ma: Callable[[float], float] = lambda t_s: 500.0
    volts: float = 4.2
    sampling: bool = True  # a run that was killed has left it so
    unplugged: bool = False
    late_s: Callable[[int], float] = lambda batch: 0.0
    clock: FakeClock = field(
        default_factory=FakeClock
    )  # of what is sampled, which passes as fast as it is collected
    done: list[tuple[str, Any]] = field(default_factory=list)


class Monitor:
    def __init__(self, usb: Usb, model: int) -> None:
        self.usb, self._model = usb, model

    def enumerateDevices(self) -> list[str]:
        if self.usb.refuses:
            raise self.usb.refuses
        return self.usb.serials

    def setup_usb(self, serialno: str, protocol: Any) -> None:
        sys.stdout.write("Warning:  Detected firmware revision 30\n")
        self.usb.done.append(("setup_usb", (self._model, serialno)))
        self.Protocol = SimpleNamespace(getValue=lambda op, length: self.usb.model if op == MODEL else 0)

    def stopSampling(self) -> None:
        self.usb.sampling = False

    def setVout(self, value: float) -> None:
        if self.usb.sampling:
            raise ValueError(
                "Power Monitor Error, attempted to send a command while the unit is in Sample Mode."
            )
        self.usb.done.append(("setVout", value))

    def setUSBPassthroughMode(self, mode: int) -> None:
        self.usb.done.append(("setUSBPassthroughMode", mode))

    def closeDevice(self) -> None:
        self.usb.done.append(("closeDevice", None))


class SampleEngine:
    """Gives samples, by the clock of the monitor; those that nobody collects wait."""

    def __init__(self, monitor: Monitor) -> None:
        self._usb, self.dropped, self._batches = monitor.usb, 0, 0
        self._console = True

    def ConsoleOutput(self, on: bool) -> None:
        self._console = on

    def disableCSVOutput(self) -> None:
        pass

    def periodicStartSampling(self, cal_time_ms: int = 1250) -> Any:
        self._usb.sampling = True
        self._sampled_s = self._usb.clock.now_ns() / 1e9
        return [[]] * 6

    def periodicCollectSamples(self, samples: int = 100) -> list[list[float]]:
        assert self._usb.sampling
        if self._console:
            sys.stdout.write("Main Current: 500.0\n")
        start_s, self._sampled_s = self._sampled_s, self._sampled_s + samples / HZ
        self._batches += 1
        waits_s = max(self._sampled_s - self._usb.clock.now_ns() / 1e9, 0)
        self._usb.clock.sleep_s(waits_s + self._usb.late_s(self._batches))
        time.sleep(0.01)  # it is collected as long as it is open
        if self._usb.unplugged:
            raise OSError(19, "No such device (it may have been disconnected)")
        current_ma = [self._usb.current_ma(start_s + i / HZ) for i in range(samples)]
        result: dict[int, list[float]] = defaultdict(list, {1: current_ma, 4: [self._usb.volts] * samples})
        return [result[channel] for channel in range(6)]

    def periodicStopSampling(self) -> None:
        self._usb.sampling = False


@pytest.fixture
def usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Usb:
    """Return a USB with one monitor, and the package to drive it."""
    usb = Usb()
    operations = {
        "OpCodes": SimpleNamespace(HardwareModel=MODEL),
        "HardwareModel": SimpleNamespace(LVPM=1, HVPM=2),
        "USB_Passthrough": SimpleNamespace(Off=0, On=1, Auto=2),
    }
    channels = SimpleNamespace(timeStamp=0, MainCurrent=1, USBCurrent=2, AuxCurrent=3, MainVoltage=4)
    parts: dict[str, dict[str, Any]] = {
        "HVPM": {"Monsoon": lambda: Monitor(usb, 2)},
        "LVPM": {"Monsoon": lambda: Monitor(usb, 1)},
        "pmapi": {"USB_protocol": SimpleNamespace},
        "Operations": operations,
        "sampleEngine": {"SampleEngine": SampleEngine, "channels": channels},
    }
    monkeypatch.setitem(sys.modules, "Monsoon", ModuleType("Monsoon"))
    for name, what in parts.items():
        module = ModuleType(f"Monsoon.{name}")
        vars(module).update(what)
        monkeypatch.setitem(sys.modules, f"Monsoon.{name}", module)
    info = tmp_path / "monsoon-0.1.88.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: monsoon\nVersion: 0.1.88\n")
    monkeypatch.syspath_prepend(tmp_path)
    return usb


@pytest.fixture
def spent(tmp_path: Path) -> Path:
    """Return the file of what runs of the fake backend spend."""
    return tmp_path / "spent"


@pytest.fixture
def client(
    start_agent: Callable[..., RunningAgent], connect: Callable[[RunningAgent], DeviceClient], spent: Path
) -> DeviceClient:
    """Return a client of an agent whose runs spend energy."""
    return connect(start_agent(Script(run_ns=TAKES_NS, spends_uj=SPENDS_UJ, spent=str(spent))))
