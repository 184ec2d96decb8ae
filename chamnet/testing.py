"""Builders and fakes to test with; shipped, so that plug-ins can use them too."""

from chamnet.lut import Platform
from chamnet.records import (
    PROTOCOL_VERSION,
    Conditions,
    CoreCluster,
    DeviceInfo,
    EnergyReading,
    Status,
    Visit,
)
from chamnet.records import Component as _Component

__all__ = ["FakeClock", "make_device", "make_energy", "make_platform", "make_visit"]


class FakeClock:
    """A clock that moves only when told to; `sleep_s` moves it."""

    def __init__(self, start_ns: int = 0) -> None:
        self.time_ns = start_ns

    def now_ns(self) -> int:
        """Return the time."""
        return self.time_ns

    def cpu_ns(self) -> int:
        """Return the same: the fake thread never waits."""
        return self.time_ns

    def sleep_s(self, seconds: float) -> None:
        """Move the time on."""
        self.time_ns += round(seconds * 1e9)


def make_platform(backend: str = "fake", version: str = "1") -> Platform:
    """Return a platform that no real device has."""
    return Platform(
        device="0" * 16,
        device_name="Test CPU",
        cluster=0,
        threads=1,
        backend=backend,
        version=version,
        provider="TestProvider",
        protocol=PROTOCOL_VERSION,
    )


def make_visit(
    visit_id: str,
    latency_ms: float = 1.0,
    *,
    status: Status = "ok",
    count: int = 5,
    noop_ns: int | None = 8_000,
    probes_ns: tuple[int, int] | None = None,
) -> Visit:
    """Return a visit whose samples are all `latency_ms`; without samples where the status is not ok.

    `probes_ns` is what the fixed computation and the fixed pass over memory took beside it.
    """
    compute_ns, memory_ns = probes_ns or (None, None)
    samples = (round(latency_ms * 1e6),) * count if status == "ok" else ()
    return Visit(
        visit_id=visit_id,
        status=status,
        samples_ns=samples,
        noop_ns=noop_ns,
        conditions=Conditions(probe_ns=compute_ns, memory_probe_ns=memory_ns),
        message="" if samples else "why",
    )


def make_energy(
    net_mj: float = 2.0, latency_ms: float = 1.0, *, idle_w: float = 1.0, noise_w: float = 0.01
) -> EnergyReading:
    """Return what a good meter says of an item that adds `net_mj` to an idling device in each of its runs, for a second."""
    calls = max(round(1e3 / latency_ms), 1)
    window_ms = calls * latency_ms
    return EnergyReading(
        meter="fake",
        rails=("fake",),
        period_s=0.01,
        updates=round(window_ms / 10),
        window_ns=round(window_ms * 1e6),
        calls=calls,
        gross_uj=(net_mj * calls + idle_w * window_ms) * 1e3,
        idle_before_w=idle_w,
        idle_after_w=idle_w,
        idle_std_w=noise_w,
    )


def make_device(*backends: str, why_not: str | None = None) -> DeviceInfo:
    """Return a device with the named backends; `why_not` makes them all unusable."""
    return DeviceInfo(
        agent_version="0",
        protocol_version=PROTOCOL_VERSION,
        cpu_model="Test CPU",
        arch="x86_64",
        cpu_flags=("avx2",),
        clusters=(CoreCluster(cores=(0, 1)),),
        memory_bytes=2**30,
        os="Test",
        python="3.11",
        backends=tuple(
            _Component(name=b, version="1", provider="P", dtypes=("f32",), why_not=why_not) for b in backends
        ),
        meters=(),
        default_backend=backends[0] if backends else "",
        cores=(0,),
        threads=1,
    )
