"""Tells visits made while a device was slow, by the reference probe beside each: another load, or too hot."""

from collections import deque
from statistics import median

from chamnet.errors import DeviceError
from chamnet.quantities import ns_to_ms
from chamnet.records import Visit

__all__ = ["Regime"]

_SLOW = 1.6  # probe over its median; less is made up for when visits are compared
_FEWEST = 30  # probes that make a median
_WINDOW = 2_000
_REPEATS = 1  # of a visit made while the device was slow


class Regime:
    """Remembers what the probe said, and which visits were asked for again.

    Args:
        strict: Whether a slow device is an error.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._probes_ns: deque[int] = deque(maxlen=_WINDOW)
        self._repeated: dict[str, int] = {}

    def is_slow(self, visit: Visit) -> bool:
        """Return whether a visit was made while the device was slow.

        Raises:
            DeviceError: It was, and that was not to be accepted.
        """
        probe_ns = visit.conditions.probe_ns
        if probe_ns is None:
            return False
        usual_ns = median(self._probes_ns) if len(self._probes_ns) >= _FEWEST else None
        self._probes_ns.append(probe_ns)
        if usual_ns is None or probe_ns <= _SLOW * usual_ns:
            return False
        if self._strict:
            raise DeviceError(
                f"the device is loaded or throttled: its reference computation took {ns_to_ms(probe_ns):.3f} ms, usually"
                f" {ns_to_ms(usual_ns):.3f} ms; what was measured is stored. Wait until it is quiet and cool and run the same"
                " command again, or leave --strict out to label such visits"
            )
        return True

    def repeats(self, visit: Visit) -> bool:
        """Return whether a visit is to be made once more; it is not where it was already."""
        self._repeated[visit.visit_id] = self._repeated.get(visit.visit_id, 0) + 1
        return self._repeated[visit.visit_id] <= _REPEATS
