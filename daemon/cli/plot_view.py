"""Draw a curve: in the terminal with plotext, as a picture with matplotlib. Each is loaded when it draws."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

from trainer.protocol.text import num_of

if TYPE_CHECKING:
    from daemon.client.curves import Curve, CurvePoint

NUM_TICKS = 5
INCHES, DOTS_PER_INCH = (12, 6), 120


def is_installed(library: str) -> bool:
    """Whether a library that draws is there."""
    return find_spec(library) is not None


def heading(curve: "Curve") -> str:
    """Return what the curve shows."""
    first, last = curve.points[0].first_step, curve.points[-1].last_step
    steps = f"steps {first:,} to {last:,}" if last > first else f"step {first:,}"
    return f"{curve.words}{f' of {curve.file}' if curve.file else ''}, {steps}"


def summary(curve: "Curve") -> str:
    """Return the values that a reader of the picture wants to know exactly."""
    points = curve.points
    low, high = min(points, key=lambda point: point.low), max(points, key=lambda point: point.high)
    values = (
        f"first {_mean(points[0])}",
        f"last {_mean(points[-1])}",
        f"least {number(low.low)} ({_place(low)})",
        f"greatest {number(high.high)} ({_place(high)})",
    )
    return ", ".join(values) + _left_out(curve)


def _left_out(curve: "Curve") -> str:
    if not curve.left_out:
        return ""
    others = "last" if curve.weights == "average" else "averaged"
    return f"; left out: {num_of(curve.left_out, 'value')} of the {others} weights"


def number(value: float) -> str:
    """Return a value with as many digits as matter."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _mean(point: "CurvePoint") -> str:
    is_one = point.first_step == point.last_step
    return number(point.mean) if is_one else f"{number(point.mean)} (mean of {_place(point)})"


def _place(point: "CurvePoint") -> str:
    if point.first_step == point.last_step:
        return f"step {point.first_step:,}"
    return f"steps {point.first_step:,} to {point.last_step:,}"


def _polyline(curve: "Curve") -> Iterator[tuple[float, float]]:
    """Yield the corners of one line that shows the least and the greatest value of each stretch."""
    is_high_next = False
    for point in curve.points:
        middle = (point.first_step + point.last_step) / 2
        pair = [point.low, point.high] if point.low != point.high else [point.mean]
        yield from ((middle, value) for value in (pair[::-1] if is_high_next else pair))
        is_high_next = len(pair) > 1 and not is_high_next


def ticks(first: float, last: float) -> list[float]:
    if first == last:
        return [first]
    return [first + (last - first) * part / (NUM_TICKS - 1) for part in range(NUM_TICKS)]


# ---- in the terminal


def drawn_lines(curve: "Curve", *, columns: int, rows: int) -> list[str]:
    """Return the lines of a picture that takes so many columns and rows of a terminal."""
    return canvas(list(_polyline(curve)), columns=columns, rows=rows)


def canvas(corners: Sequence[tuple[float, float]], *, columns: int, rows: int) -> list[str]:
    """Return the lines of a picture of a line through these corners: steps and values."""
    from plotext import figure

    steps, values = [step for step, _ in corners], [value for _, value in corners]
    figure.clear()
    figure.plot_size(columns, rows)
    marks = sorted({round(step) for step in ticks(steps[0], steps[-1])})
    figure.ruler("x", "lower").ticks(marks, [f"{step:,}" for step in marks])
    heights = ticks(min(values), max(values))
    figure.ruler("y", "left").ticks(heights, [number(height) for height in heights])
    if len(heights) == 1:  # it would choose limits that have nothing to do with a value of 0.001
        margin = abs(heights[0]) / 2 or 1.0
        figure.ruler("y", "left").lim(heights[0] - margin, heights[0] + margin)
    figure.draw(figure.signal(steps, values, marker="braille").lines())
    return str(figure.build().string(colorless=True)).splitlines()


# ---- as a picture


def png(curve: "Curve") -> bytes:
    """Return the curve as a PNG."""
    from matplotlib.figure import Figure  # without pyplot, which looks for a screen

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    # ASCII, because a file's name would need fonts for every script
    figure.suptitle(heading(curve).encode("ascii", "backslashreplace").decode(), parse_math=False)
    axes = figure.subplots()
    steps = [(point.first_step + point.last_step) / 2 for point in curve.points]
    lows, highs = [point.low for point in curve.points], [point.high for point in curve.points]
    axes.fill_between(steps, lows, highs, alpha=0.3)
    axes.plot(steps, [point.mean for point in curve.points], marker="." if len(steps) < 50 else None)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(curve.words)
    axes.grid(visible=True, alpha=0.3)
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
