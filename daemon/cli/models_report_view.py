"""The report on the model as lines for a terminal. What comes in is printable."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from daemon.cli.models_report_text import (
    NOTHING_TO_DO,
    crash_texts,
    daemon_text,
    disk_text,
    losses_text,
    model_text,
    moment,
    since_text,
    trained_text,
    trouble_texts,
    verdict_text,
    went_back_text,
    why_text,
)
from daemon.cli.models_view import maker_text, version_loss
from daemon.cli.options import typed_here
from daemon.cli.plot_view import drawn_lines, is_installed, summary
from trainer.protocol.text import duration_text, printable

if TYPE_CHECKING:
    from daemon.client.results import Curve, ModelsReport, PeriodFile, VersionLine

MOST_LINES = 20  # of each list; programs and the page get more
CURVE_ROWS = 12
WIDEST_NAME, BESIDE_NAME = 60, 62  # with losses of up to 999.999


def report_lines(report: "ModelsReport", *, columns: int) -> Iterator[str]:
    """Yield the report.

    Args:
        columns: that a line may have.
    """
    yield from _wrapped(f"{report.base_dir} since {since_text(report)}", columns)
    for name, text in _facts(report):
        yield from _wrapped(text, columns, begin=f"{name:8}", rest=" " * 8)
    sections = {
        "TRAINED": _files(report, columns),
        "FAILED OR SKIPPED": _ended_otherwise(report, columns),
        "TRAINING LOSS": _curve(report.loss, columns),
        report.validation.words.upper(): _curve(report.validation, columns),
        "VERSIONS": _versions(report, columns),
        "GONE BACK": _list(map(went_back_text, report.went_back), columns),
        "GATE": _list(map(verdict_text, report.gate), columns),
        "ALERTS, WARNINGS AND ERRORS": _list(trouble_texts(report), columns),
        "CRASHES": _list(crash_texts(report), columns),
    }
    for title, lines in sections.items():
        found = list(lines)
        if found:
            yield from ("", title, *found)
    yield from ("", "NEXT", *_next(report, columns))


def _facts(report: "ModelsReport") -> Iterator[tuple[str, str]]:
    yield "daemon", daemon_text(report.daemon)
    yield "model", model_text(report)
    yield "trained", trained_text(report)
    if report.disk:
        yield "disk", disk_text(report.disk)


def _files(report: "ModelsReport", columns: int) -> Iterator[str]:
    shown = report.files[-MOST_LINES:]
    if not shown:
        return
    room = max(12, min(WIDEST_NAME, columns - BESIDE_NAME))
    width = min(room, max(4, *(cells(file.name) for file in shown)))
    yield (f"{fitted('FILE', width)}  {'STATE':10}  {'ROWS':>7}  {'STEPS':>6}  {'TIME':>11}  LOSS")
    for file in shown:
        yield _file_line(file, width)
    yield from _more(report.trained.files - len(shown), columns)


def _file_line(file: "PeriodFile", width: int) -> str:
    return (
        f"{fitted(file.name, width)}  {file.state:10}  {file.rows:>7,}  {file.steps:>6,}  "
        f"{duration_text(file.seconds):>11}  {losses_text(file)}"
    )


def _ended_otherwise(report: "ModelsReport", columns: int) -> Iterator[str]:
    for file in report.ended_otherwise[-MOST_LINES:]:
        begin = f"{moment(file.at)}  {file.outcome:7}  "
        yield f"{begin}{fitted(file.name, columns - len(begin)).rstrip()}"
        yield from _wrapped(why_text(file), columns, begin="    ", rest="    ")
    yield from _more(report.num_ended_otherwise - len(report.ended_otherwise[-MOST_LINES:]), columns)


def _curve(curve: "Curve", columns: int) -> Iterator[str]:
    if not curve.points:
        return
    if len(curve.points) > 1 and is_installed("plotext"):
        _, *canvas, _ = drawn_lines(curve, columns=columns, rows=CURVE_ROWS)
        yield from canvas
    yield from _wrapped(summary(curve), columns)


def _versions(report: "ModelsReport", columns: int) -> Iterator[str]:
    yield from _list(map(_version_text, report.versions), columns)
    for name, problem in report.damaged_versions.items():
        yield from _wrapped(f"{name}: damaged: {problem}", columns, rest="    ")


def _version_text(version: "VersionLine") -> str:
    facts = [f"{moment(version.made_at)}  {version.id}  step {version.global_step:,}"]
    if version.validation_loss is not None:
        facts.append(f"validation {version_loss(version.validation_loss, version.validation_weights)}")
    facts.append(maker_text(version.made_by))
    facts += ["current"] * version.is_current
    facts += [*version.aliases, *(f"#{tag}" for tag in version.tags)]
    facts += [printable(note, limit=200) for note in version.notes[-1:]]
    return ", ".join(facts)


def _next(report: "ModelsReport", columns: int) -> Iterator[str]:
    if not report.next:
        yield NOTHING_TO_DO
    for step in report.next:
        yield from _wrapped(f"{step.why}:", columns, rest="    ")
        yield f"    {step.command}"  # never broken: it is copied


# ---- lines that fit


def cells(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    return sum(_cells_of(char) for char in text)


def _cells_of(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.combining(char):
        return 0
    return 1 + (unicodedata.east_asian_width(char) in "WF")


def fitted(text: str, width: int) -> str:
    """Return a text that takes exactly so many columns, its end left out if need be."""
    if (missing := width - cells(text)) >= 0:
        return text + " " * missing
    kept, room = "", width - 1
    for char in text:
        if (room := room - _cells_of(char)) < 0:
            break
        kept += char
    kept += "…"
    return kept + " " * (width - cells(kept))


def _list(texts: Iterable[str], columns: int) -> Iterator[str]:
    found = list(texts)
    for text in found[-MOST_LINES:]:
        yield from _wrapped(text, columns, rest="    ")
    yield from _more(len(found) - MOST_LINES, columns)


def _more(number: int, columns: int) -> Iterator[str]:
    if number > 0:
        yield from _wrapped(f"… and {number:,} earlier; --html and --json show more", columns)


def _wrapped(text: str, columns: int, *, begin: str = "", rest: str = "") -> Iterator[str]:
    """Yield a text in lines that fit, broken between words where that is possible."""
    text = typed_here(text)
    line = begin
    is_empty = True
    for word in text.split(" "):
        gap = "" if is_empty else " "
        if not is_empty and cells(line + gap + word) > columns:
            yield line
            line, gap = rest, ""
        *whole, word = _pieces(word, columns - cells(line + gap))
        for piece in whole:
            yield line + gap + piece
            line, gap = rest, ""
        line, is_empty = line + gap + word, False
    yield line


def _pieces(word: str, room: int) -> Iterator[str]:
    """Yield a word, cut where it would be wider than the room."""
    piece, left = "", room
    for char in word:
        if (left := left - _cells_of(char)) < 0:
            yield piece
            piece, left = "", room - _cells_of(char)
        piece += char
    yield piece
