"""A backend that does as it is told, and the contract that every backend keeps; shipped for plug-ins' tests."""

import itertools
import mmap
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest

from chamnet.errors import UnsupportedOpError
from chamnet.ops import DType, OpSpec
from chamnet.records import Component
from chamnet.units import Unit
from chamnet_agent.backends.base import Backend, Workload

__all__ = ["BackendContract", "FakeBackend", "Script", "Spent", "install_fake_backend"]

_HANG_S = 3_600.0
_KEPT_RUNS = 1 << 16  # a minute of runs of 1 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a fake backend does, by unit signature or key; `noop` is the empty model, `model` a model file.

    Attributes:
        run_ns: What its runs take, in turn, then over again; nothing where it is not named.
        unsupported: What it refuses.
        aborts: What ends the process when run.
        hangs: What never returns when run.
        hanging: File that is made when something hangs, by which a test knows; empty for none.
        takes_bytes: Memory that its runs take and write to; none where it is not named.
        spends_uj: Energy that a run of a unit spends above idling; nothing where it is not named.
        spent: File of a `Spent`, for a simulated meter; empty for none.
        says: What it prints to stdout while it builds, as runtimes do.
    """

    run_ns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unsupported: frozenset[str] = frozenset()
    aborts: frozenset[str] = frozenset()
    hangs: frozenset[str] = frozenset()
    hanging: str = ""
    takes_bytes: Mapping[str, int] = field(default_factory=dict)
    spends_uj: Mapping[str, float] = field(default_factory=dict)
    spent: str = ""
    says: str = ""


class FakeBackend:
    """Keeps the `Backend` contract without a runtime.

    Args:
        threads: Ignored.
        script: What it does; a subclass may set it as an attribute instead.
        spend: Lets so many nanoseconds pass; really sleeps by default.
    """

    script = Script()

    def __init__(
        self, *, threads: int = 1, script: Script | None = None, spend: Callable[[int], None] | None = None
    ) -> None:
        self._script = script or self.script
        self._spend = spend or _sleep_ns

    @staticmethod
    def describe() -> Component:
        """Return that it is always there."""
        return Component(name="fake", version="1", provider="none", dtypes=("f32",))

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> "FakeModel":
        """Return a model that does what the script says.

        Raises:
            UnsupportedOpError: The script says so.
        """
        names = self._checked(workload)
        if self._script.says:
            os.write(1, self._script.says.encode())
        spends = self._script.spends_uj
        spends_uj = sum(spends.get(unit.key, spends.get(unit.signature, 0.0)) for unit in workload.blocks)
        return FakeModel(names, self._script, self._spend, spends_uj=spends_uj)

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return a made-up key per operator.

        Raises:
            UnsupportedOpError: The script says so.
        """
        names = self._checked(workload)
        if names & self._script.aborts:
            os.abort()
        return tuple(f"fake:{op.key}" for unit in workload.blocks for op in unit.all_ops) or ("fake:model",)

    def _checked(self, workload: Workload) -> set[str]:
        names = _names(workload)
        strange = [unit.key for unit in workload.blocks if unit.dtype not in self.describe().dtypes]
        if refused := sorted(names & self._script.unsupported) + strange:
            raise UnsupportedOpError(f"backend fake cannot run {refused[0]}; try another backend")
        if workload.model is not None and not workload.model:
            raise UnsupportedOpError("backend fake cannot run an empty model file")
        return names


class FakeModel:
    """A model of the fake backend."""

    def __init__(
        self, names: set[str], script: Script, spend: Callable[[int], None], *, spends_uj: float = 0.0
    ) -> None:
        self._spends_uj = spends_uj
        self._spent = Spent(Path(script.spent)) if script.spent and spends_uj else None
        self._aborts = bool(names & script.aborts)
        self._hangs = bool(names & script.hangs)
        self._hanging = Path(script.hanging) if script.hanging else None
        self._bytes = max((script.takes_bytes[name] for name in names & script.takes_bytes.keys()), default=0)
        self._spend = spend
        named = sorted(names & script.run_ns.keys())
        self._takes_ns: Iterator[int] = itertools.cycle(script.run_ns[named[0]] if named else (0,))

    def run(self) -> None:
        """Do what the script says."""
        if self._aborts:
            os.abort()
        if self._hangs:
            if self._hanging is not None:
                self._hanging.touch()
            time.sleep(_HANG_S)
        bytearray(self._bytes)
        self._spend(next(self._takes_ns))
        if self._spent is not None:
            self._spent.add(self._spends_uj)


class Spent:
    """What runs have spent, and when: one process adds to a file, all see it, however late they look.

    Args:
        path: Of the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        # how many runs there were, then the time of each and what was spent until then
        size = 8 * (1 + 2 * _KEPT_RUNS)
        with path.open("a+b") as file:
            file.truncate(size)
            shared = memoryview(mmap.mmap(file.fileno(), size))
        self._times_ns, self._totals_uj = shared.cast("q"), shared.cast("d")

    def add(self, spent_uj: float) -> None:
        """Note that a run has ended now and spent so much."""
        runs = self._times_ns[0]
        place, total_uj = self._place(runs), self._totals_uj[self._place(runs - 1) + 1] if runs else 0.0
        self._times_ns[place], self._totals_uj[place + 1] = time.monotonic_ns(), total_uj + spent_uj
        self._times_ns[0] = runs + 1  # last: who reads it sees whole runs only

    def until_uj(self, t_ns: int) -> float:
        """Return what the runs have spent that had ended by then.

        Raises:
            ValueError: Too many runs have ended since.
        """
        runs = self._times_ns[0]
        kept = range(max(runs - _KEPT_RUNS, 0), runs)
        ended = bisect_right(kept, t_ns, key=lambda run: self._times_ns[self._place(run)])
        if ended == 0:
            if kept.start:
                raise ValueError(f"runs that had ended by {t_ns} ns were forgotten")
            return 0.0
        return self._totals_uj[self._place(kept[ended - 1]) + 1]

    @staticmethod
    def _place(run: int) -> int:
        return 1 + 2 * (run % _KEPT_RUNS)


def install_fake_backend(folder: Path, script: Script) -> None:
    """Write a distribution into `folder` that offers the backend `fake`, as a third party's would.

    With `folder` on the Python path of server and worker, they find it through its entry point.
    """
    (folder / "chamnet_fake_backend.py").write_text(
        "from chamnet_agent.testing import FakeBackend, Script\n\n\n"
        f"class Backend(FakeBackend):\n    script = {script!r}\n",
        encoding="utf-8",
    )
    info = folder / "chamnet_fake_backend-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: chamnet-fake-backend\nVersion: 1\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        "[chamnet.backends]\nfake = chamnet_fake_backend:Backend\n", encoding="utf-8"
    )


def _names(workload: Workload) -> set[str]:
    if workload.model is not None:
        return {"model"}
    names = {name for unit in workload.blocks for name in (unit.key, unit.signature)}
    return names or {"noop"}


def _sleep_ns(duration_ns: int) -> None:
    if duration_ns:
        time.sleep(duration_ns / 1e9)


_CONV = OpSpec(kind="conv", in_c=3, in_h=16, in_w=16, out_c=16, kernel=3, stride=2, act="relu6")
_DEPTHWISE = OpSpec(kind="conv", in_c=16, in_h=8, in_w=8, out_c=16, kernel=5, groups=16, act="relu6")
_PROJECT = OpSpec(kind="conv", in_c=16, in_h=8, in_w=8, out_c=16, add=True)
_POOL = OpSpec(kind="gap", in_c=16, in_h=8, in_w=8, out_c=16)
_LINEAR = OpSpec(kind="linear", in_c=16, out_c=10)
_LARGE = OpSpec(kind="conv", in_c=64, in_h=224, in_w=224, out_c=64, kernel=3, groups=64)

_WORKLOADS = {
    "empty": Workload(),
    "conv": Workload(blocks=(Unit((_CONV,)),)),
    "residual": Workload(blocks=(Unit((_PROJECT,)),)),
    "block": Workload(blocks=(Unit((_DEPTHWISE, _PROJECT), skip=True),)),
    "network": Workload(blocks=(Unit((_CONV,)), Unit((_DEPTHWISE, _PROJECT), skip=True), Unit((_POOL,)), Unit((_LINEAR,)))),
}  # fmt: skip


class BackendContract:
    """What every backend keeps. Subclass it as `Test...` and give a `backend` fixture."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend under test."""
        raise NotImplementedError("give a backend fixture")

    def test_it_describes_itself_as_usable(self, backend: Backend) -> None:
        """It has a name, a version and element types, and is usable here."""
        component = backend.describe()
        assert component.name
        assert component.version
        assert component.dtypes
        assert component.why_not is None

    @pytest.mark.parametrize("name", _WORKLOADS)
    @pytest.mark.parametrize("slot", [0, 1])
    def test_it_runs_again_and_again(self, backend: Backend, name: str, slot: int) -> None:
        """Every kind of workload runs in every slot, in every element type that the backend names."""
        for dtype in _dtypes(backend):
            prepared = backend.prepare(_cast(_WORKLOADS[name], dtype), seed=0, slot=slot)
            for _ in range(3):
                prepared.run()

    def test_workloads_live_side_by_side(self, backend: Backend) -> None:
        """Shared buffers that grow leave the models that were built before intact."""
        small = [backend.prepare(each, seed=0, slot=i) for i, each in enumerate(_WORKLOADS.values())]
        large = backend.prepare(Workload(blocks=(Unit((_LARGE,)),)), seed=0, slot=0)
        for prepared in (*small, large, *small):
            prepared.run()

    def test_it_refuses_a_dtype_it_lacks(self, backend: Backend) -> None:
        """An element type that it does not name is refused."""
        lacking = set(get_args(DType)) - set(_dtypes(backend))
        if not lacking:
            pytest.skip("it lacks no element type")
        for dtype in lacking:
            with pytest.raises(UnsupportedOpError):
                backend.prepare(_cast(_WORKLOADS["conv"], dtype), seed=0, slot=0)

    def test_it_refuses_a_broken_model_file(self, backend: Backend) -> None:
        """A file that is no model is neither run nor resolved."""
        broken = Workload(model=b"")
        with pytest.raises(UnsupportedOpError):
            backend.prepare(broken, seed=0, slot=0)
        with pytest.raises(UnsupportedOpError):
            backend.resolve(broken, seed=0)

    def test_it_says_what_it_executes(self, backend: Backend) -> None:
        """Executed keys are text, the same each time, whatever the weights."""
        for dtype in _dtypes(backend):
            network = _cast(_WORKLOADS["network"], dtype)
            executed = backend.resolve(network, seed=0)
            assert executed
            assert all(isinstance(key, str) and key for key in executed)
            assert backend.resolve(network, seed=1) == executed


def _dtypes(backend: Backend) -> tuple[DType, ...]:
    """Return the element types that a backend names and units know; some name more for model files."""
    named = backend.describe().dtypes
    return tuple(dtype for dtype in get_args(DType) if dtype in named)


def _cast(workload: Workload, dtype: DType) -> Workload:
    return Workload(blocks=tuple(unit.cast(dtype) for unit in workload.blocks))
