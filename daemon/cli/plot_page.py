"""Write a curve as one HTML page that loads nothing and runs nothing."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from daemon.cli.plot_view import heading, number, summary, ticks
from daemon.data_tools.html_page import END, head

if TYPE_CHECKING:
    from daemon.client.curves import Curve

WIDTH, HEIGHT = 1000, 480
LEFT, RIGHT, TOP, BOTTOM = 90, 20, 20, 50  # of the canvas, for ticks

STYLE = """svg { width: 100%; height: auto; }
.grid { stroke: #ddd; }
.range { fill: #3b6ea5; opacity: .3; }
.mean { fill: none; stroke: #3b6ea5; stroke-width: 1.5; }
.dot { fill: #3b6ea5; }"""


def page(curve: "Curve") -> str:
    """Return the page."""
    title = escape(heading(curve))
    parts = [
        head(title, width_rem=70, style=STYLE),
        f"<h1>{title}</h1>",
        *picture(curve),
        f"<p>{escape(summary(curve))}. The line is the mean, the area reaches from the least to the greatest "
        "value.</p>",
        END,
    ]
    return "\n".join(parts)


def picture(curve: "Curve") -> Iterator[str]:
    """Yield the lines of the curve's picture, for a page with the rules of `STYLE`."""
    label = escape(heading(curve), quote=True)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{label}">'
    )
    yield from _drawing(curve)
    yield "</svg>"


class _Axis:
    """Where a value stands on the canvas."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.least, self.greatest = min(values), max(values)
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        if self.least == self.greatest:
            return (self._start + self._end) / 2
        share = (value - self.least) / (self.greatest - self.least)
        return round(self._start + share * (self._end - self._start), 1)


def _drawing(curve: "Curve") -> Iterator[str]:
    steps = [(point.first_step + point.last_step) / 2 for point in curve.points]
    x = _Axis(steps, LEFT, WIDTH - RIGHT)
    y = _Axis([value for point in curve.points for value in (point.low, point.high)], HEIGHT - BOTTOM, TOP)
    for height in ticks(y.least, y.greatest):
        place = y.place(height)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>'
        yield f'<text x="{LEFT - 8}" y="{place + 4}" text-anchor="end">{number(height)}</text>'
    for step in sorted({round(step) for step in ticks(x.least, x.greatest)}):
        yield f'<text x="{x.place(step)}" y="{HEIGHT - BOTTOM + 24}" text-anchor="middle">{step:,}</text>'
    over = [f"{x.place(step)},{y.place(p.high)}" for step, p in zip(steps, curve.points, strict=True)]
    under = [f"{x.place(step)},{y.place(p.low)}" for step, p in zip(steps, curve.points, strict=True)]
    middle = [f"{x.place(step)},{y.place(p.mean)}" for step, p in zip(steps, curve.points, strict=True)]
    yield f'<polygon class="range" points="{" ".join(over + under[::-1])}"/>'
    yield f'<polyline class="mean" points="{" ".join(middle)}"/>'
    if len(middle) == 1:
        yield f'<circle class="dot" cx="{x.place(steps[0])}" cy="{y.place(curve.points[0].mean)}" r="3"/>'
