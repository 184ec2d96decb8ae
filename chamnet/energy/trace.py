"""A recorded series of power: what an external recorder, a bench supply or an earlier run wrote into a file.

The file is CSV with a header: `time_s`, seconds that never go back; `power_w`, all that the device draws; more columns
such as `gpu_w` for parts of it. It may grow while it is read. Times are those of the monotonic clock of whoever reads it,
once an offset is added.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from chamnet.energy.rails import Rail, Reading
from chamnet.errors import MeterError

__all__ = ["TraceFile"]

_NS_PER_S = 1_000_000_000
_LOOKED_AT = 1_000  # rows, to tell the period
_MOST_APART_S = 60.0  # rows
_MOST_AHEAD_S, _OLDEST_S = 1.0, 120.0  # a recorder may write blocks, and be off by what it averages over
_HEADER = ("time_s", "power_w")


class TraceFile:
    """The rows of a CSV file; each is read once.

    Args:
        path: The file.
        offset_s: Added to its times.

    Raises:
        MeterError: There is no such file, or it holds no series of power.
    """

    shortest_poll_s = 0.1
    on_read = True
    # Recorders write in blocks: 8 KB of what Python keeps back are four seconds of 100 rows each.
    settle_s = 10.0

    def __init__(self, path: Path, *, offset_s: float = 0.0) -> None:
        columns = _columns(path)
        self._trace = path
        self._offset_s = offset_s
        self._length = len(columns)
        self._position, self._line, self._last_s = 0, 0, -math.inf
        self.rails = tuple(_rail(column) for column in columns[1:])
        self._pending = self._new_readings()
        times_ns = [reading.t_ns or 0 for reading in self._pending[:_LOOKED_AT]]
        if len(times_ns) < 2:
            raise MeterError(f"{self._trace} has {len(times_ns)} rows of power; two at least are needed")
        self.period_s = max(median(b - a for a, b in pairwise(times_ns)), 1) / _NS_PER_S
        if self.period_s > _MOST_APART_S:
            raise MeterError(
                f"{self._trace}: its rows are {self.period_s:.4g} s apart, if time_s is in seconds, as it must be; give one at"
                f" least every {_MOST_APART_S:.0f} s"
            )

    def check_clock(self, now_ns: int) -> None:
        """Refuse times that cannot be those of the monotonic clock of whoever reads the file.

        Args:
            now_ns: What that clock says.

        Raises:
            MeterError: The last row is ahead of it, or of long ago.
        """
        last_s, now_s = self._last_s + self._offset_s, now_ns / _NS_PER_S
        said = f"{self._trace}: its last row is of {last_s:.1f} s, the monotonic clock of who reads it says {now_s:.1f} s"
        if last_s > now_s + _MOST_AHEAD_S:
            raise MeterError(f"{said}: time_s must be of that clock (time.monotonic()), not the time of day")
        if last_s < now_s - _OLDEST_S:
            raise MeterError(f"{said}: time_s must be of that clock (time.monotonic()), and the recorder run")

    def read(self) -> Sequence[Reading]:
        """Return the rows that were added since the last call; the first time, all.

        Raises:
            MeterError: The file is gone, or a row holds no power.
        """
        readings, self._pending = [*self._pending, *self._new_readings()], []
        return readings

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _new_readings(self) -> list[Reading]:
        return [Reading(values, t_ns=round(time_s * _NS_PER_S)) for time_s, values in self._new_rows()]

    def _new_rows(self) -> Iterator[tuple[float, tuple[float, ...]]]:
        for row in csv.reader(self._new_lines()):
            self._line += 1
            if self._line == 1 or not row:
                continue  # the header
            try:
                time_s, *values = map(float, row)
            except ValueError as error:
                raise MeterError(
                    f"{self._trace}, line {self._line}: {','.join(row)[:60]!r} is no power"
                ) from error
            if len(row) != self._length or not math.isfinite(time_s):
                raise MeterError(f"{self._trace}, line {self._line}: not {self._length} numbers")
            if time_s < self._last_s:
                raise MeterError(
                    f"{self._trace}, line {self._line}: the time goes back from {self._last_s} s"
                )
            self._last_s = time_s
            yield time_s + self._offset_s, tuple(values)

    def _new_lines(self) -> Iterator[str]:
        """Return the lines that were added; one that is still being written waits."""
        with _opened(self._trace) as file:
            file.seek(self._position)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._position += len(whole)
        return iter(whole.decode("utf-8", errors="replace").splitlines())


def _columns(path: Path) -> list[str]:
    with _opened(path) as file:
        header = file.readline().decode("utf-8", errors="replace").strip()
    columns = [column.strip() for column in header.split(",")]
    strange = [column for column in columns[1:] if not column.endswith("_w")]
    if tuple(columns[:2]) != _HEADER or strange or len(set(columns)) != len(columns):
        raise MeterError(
            f"{path} begins with {header[:60]!r}; expected time_s,power_w and more columns of their own"
            " names that end in _w, such as gpu_w"
        )
    return columns


def _opened(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise MeterError(f"{path} cannot be read: {error.strerror}") from error


def _rail(column: str) -> Rail:
    name = column.removesuffix("_w")
    if name == "power":
        return Rail(name=name, nature="power", domain="device", totals=frozenset({"device"}))
    return Rail(name=name, nature="power", domain="other", within="power")
