"""Plots as SVG, for pages that need nothing else."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["LEFT", "TOP", "Axis", "Plot"]

LEFT, TOP = 52.0, 10.0  # margins in px, for ticks and labels
_RIGHT, _BOTTOM = 12.0, 44.0
_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 5, 7))  # of a decade


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to px.

    Attributes:
        low, high: Ends in values.
        start, end: Ends in px.
        log: Whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        """Return where a value lies, kept within a plot's length of the ends."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + min(2.0, max(-1.0, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values: four to eight, or more over several decades."""
        for steps in _STEPS if self.log else ():
            decades = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [tick for tick in found if self.low <= tick <= self.high]
            if len(found) >= 4:
                return found
        return _even_ticks(self.low, self.high)


def _even_ticks(low: float, high: float) -> list[float]:
    widths = (step * 10.0**power for power in range(-6, 9) for step in (1, 2, 5))
    width = next(width for width in widths if (high - low) / width <= 8)
    return [width * i for i in range(math.ceil(low / width), math.floor(high / width) + 1)]


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot's axes and frame; `y` grows upwards."""

    name: str
    x: Axis
    y: Axis
    x_label: str
    y_label: str

    def svg(self, body: Iterable[str], tick: Callable[[float], str]) -> str:
        """Return the plot with its grid under a body that is clipped to the frame."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        box = f'x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"'
        middle = (top + bottom) / 2
        return "\n".join(
            [
                f'<svg viewBox="0 0 {right + _RIGHT:g} {bottom + _BOTTOM:g}" role="img" aria-label="{self.name}">',
                f'<clipPath id="{self.name}-clip"><rect {box}/></clipPath>',
                *(self._x_tick(value) for value in self.x.ticks()),
                *(self._y_tick(value, tick) for value in self.y.ticks()),
                f'<g clip-path="url(#{self.name}-clip)">',
                *body,
                f'</g><rect class="frame" {box}/>',
                f'<text class="label" x="{(left + right) / 2:g}" y="{bottom + 38:g}" text-anchor="middle">{self.x_label}</text>',
                f'<text class="label" x="14" y="{middle:g}" text-anchor="middle" transform="rotate(-90 14 {middle:g})">{self.y_label}</text>',
                "</svg>",
            ]
        )

    def line(self, kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
        """Return a line between two points given in values."""
        x1, y1, x2, y2 = self.x(start[0]), self.y(start[1]), self.x(end[0]), self.y(end[1])
        return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'

    def area(self, kind: str, corners: Iterable[tuple[float, float]]) -> str:
        """Return a polygon between points given in values."""
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in corners)
        return f'<polygon class="{kind}" points="{points}"/>'

    def _x_tick(self, value: float) -> str:
        at, bottom = self.x(value), self.y.start
        text = f'<text x="{at:.1f}" y="{bottom + 18:g}" text-anchor="middle">{value:g}</text>'
        return self.line("grid", (value, self.y.low), (value, self.y.high)) + text

    def _y_tick(self, value: float, tick: Callable[[float], str]) -> str:
        text = f'<text x="{self.x.start - 7:g}" y="{self.y(value) + 4:.1f}" text-anchor="end">{tick(value)}</text>'
        return self.line("grid", (self.x.low, value), (self.x.high, value)) + text
