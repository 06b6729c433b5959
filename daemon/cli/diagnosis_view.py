"""Text for people: what ails the training, with a small picture of what shows it."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from daemon.cli.plot_view import canvas, is_installed, number
from trainer.protocol.text import num_of, printable

if TYPE_CHECKING:
    from daemon.client.results import Change, Diagnosis, Finding, Measure

INDENT = 4
PICTURE_COLUMNS, PICTURE_ROWS = 76, 9
LEAST_POINTS = 3  # of a picture
ILLNESS_WIDTH = 22

Line = tuple[str, int | None]
"""And the columns before what does not fit on it; None for one of a picture, which is not broken."""


def diagnosis_lines(diagnosis: "Diagnosis") -> Iterator[Line]:
    """Yield a paragraph for each illness, and a line for each thing that was examined."""
    if not diagnosis.steps:
        yield "nothing was trained yet, so there is nothing to diagnose", INDENT
        return
    for finding in diagnosis.findings:
        yield from _paragraph(finding)
        yield "", INDENT
    first, last = diagnosis.first_step or 0, diagnosis.last_step or 0
    span = f"{num_of(diagnosis.steps, 'step')} read, from {first:,} to {last:,}"
    result = f"found: {len(diagnosis.findings)}" if diagnosis.findings else "nothing unusual"
    yield f"{result}; {span}", INDENT
    for item in diagnosis.examined:
        text = item.missing or item.read or ""
        state = "not enough data: " if item.missing else "found in: " if item.result == "found" else "ok: "
        yield f"  {item.illness:{ILLNESS_WIDTH}}  {state}{text}", ILLNESS_WIDTH + 4


def _paragraph(finding: "Finding") -> Iterator[Line]:
    yield f"{finding.illness}: {finding.seen}", INDENT
    yield from _picture(finding)
    for measure in finding.evidence:
        yield f"{'':{INDENT}}{measure.what}: {_value(measure)}", INDENT
    yield f"{'':{INDENT}}cost: {finding.costs}", INDENT
    for change in finding.changes:
        yield f"{'':{INDENT}}-> {_advice(change)}", INDENT + 3


def _picture(finding: "Finding") -> Iterator[Line]:
    points = [(float(point.step), point.value) for point in finding.series.points]
    if len(points) < LEAST_POINTS or not is_installed("plotext"):
        return
    unit = f" ({finding.series.unit})" if finding.series.unit else ""
    span = f"steps {points[0][0]:,.0f} to {points[-1][0]:,.0f}"
    yield f"{'':{INDENT}}{finding.series.what}{unit}, {span}", INDENT
    for line in canvas(points, columns=PICTURE_COLUMNS, rows=PICTURE_ROWS):
        yield f"{'':{INDENT}}{line}".rstrip(), None


def _value(measure: "Measure") -> str:
    unit = "%" if measure.unit == "percent" else measure.unit
    return f"{number(measure.value)} {unit}".rstrip()


def _advice(change: "Change") -> str:
    if change.command:
        return f"{change.command} ({change.text})"
    return f"set {change.setting} to {_typed(change.suggested)}, it was {_typed(change.now)} ({change.text})"


def _typed(value: Any) -> str:
    """Return a value as it stands in config.json."""
    return printable(f"{value:g}" if isinstance(value, float) else json.dumps(value))
