"""How two versions differ, as text for people."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells

from daemon.cli.models_view import setting_lines, steps_text
from daemon.cli.validation_text import with_weights
from trainer.protocol.text import num_of, printable

if TYPE_CHECKING:
    from daemon.client.compare import Comparison, RecordedNumbers
    from daemon.client.results import SuiteScore, TrainedFile
    from trainer.protocol.comparison import ComparedAnswer, LossDifference

COLUMNS = 100  # where the output is no terminal
BETWEEN = " | "
LONGEST_TEXT = 2_000  # characters of an answer; JSON has all
FILES_SHOWN = 20
EMPTY = "(an empty answer)"


def compare_lines(found: "Comparison", *, columns: int | None) -> Iterator[str]:
    """Yield how two versions differ.

    Args:
        columns: of the terminal, if it is one.
    """
    width = columns or COLUMNS
    before, after = found.before, found.after
    yield f"{before.version} (step {before.global_step:,}) -> {after.version} (step {after.global_step:,})"
    loss = found.measured.loss
    yield ""
    if loss is None:
        yield "no validation rows: name a file with --validation, or set validation.file"
    else:
        yield from (part for line in _loss_lines(found, loss) for part in _fitting(line, width))
    yield from _recorded_lines(found)
    yield from ("", "settings")
    yield from (f"  {part}" for line in setting_lines(found.settings) for part in _fitting(line, width - 2))
    yield from _file_lines(_only(after, before), found.files_added, width)
    yield from _file_lines(_only(before, after), found.files_missing, width)
    yield ""
    if not found.measured.answers:
        yield "no answers: name a file of prompts with --prompts, or set previews.prompts"
    for answer in found.measured.answers:
        yield from _answer_lines(answer, before.version, after.version, width)


def _loss_lines(found: "Comparison", loss: "LossDifference") -> Iterator[str]:
    rows = num_of(loss.rows, "row")
    left_out = f"; {loss.left_out:,} left out, in which nothing is supervised" if loss.left_out else ""
    yield f"validation loss on the same {rows} (fp32, {found.measured.device}{left_out})"
    relative = f" ({loss.difference / loss.before:+.1%})" if loss.before else ""
    yield (
        f"  {found.before.version} {loss.before:.4f}   {found.after.version} {loss.after:.4f}   "
        f"difference {loss.difference:+.4f}{relative}"
    )
    if loss.low is None or loss.high is None:
        yield "  a single row says nothing about chance"
        return
    t = "" if loss.t is None else f", t = {loss.t:.1f}"
    yield f"  95 % confidence: {loss.low:+.4f} to {loss.high:+.4f}{t}: {_verdict(found, loss.low, loss.high)}"


def _verdict(found: "Comparison", low: float, high: float) -> str:
    if high < 0:
        return f"{found.after.version} is better on rows like these"
    if low > 0:
        return f"{found.before.version} is better on rows like these"
    return "the difference may be chance"


def _recorded_lines(found: "Comparison") -> Iterator[str]:
    """Yield what was measured of both in their time, perhaps on other rows than today's."""
    before, after = found.before, found.after
    old, new = ({score.suite: score for score in numbers.suites} for numbers in (before, after))
    if before.validation_loss is None and after.validation_loss is None and not (old or new):
        return
    yield from ("", "recorded when they were made")
    yield f"  validation loss: {_recorded_losses(before, after)}"
    for name in sorted(old.keys() | new.keys()):
        shown = [
            _score(scores[name], numbers.global_step) if name in scores else "-"
            for scores, numbers in ((old, before), (new, after))
        ]
        yield f"  suite {printable(name, limit=30)}: {shown[0]} -> {shown[1]}"


def _recorded_losses(before: "RecordedNumbers", after: "RecordedNumbers") -> str:
    measured = [item for item in (before, after) if item.validation_loss is not None]
    if len({item.validation_weights == "average" for item in measured}) > 1:
        losses = (
            with_weights(_number(item.validation_loss), item.validation_weights, beside_others=True)
            for item in measured
        )
        return f"{', then '.join(losses)}: not comparable"
    both = f"{_number(before.validation_loss)} -> {_number(after.validation_loss)}"
    return with_weights(both, measured[0].validation_weights) if measured else both


def _score(score: "SuiteScore", at_step: int) -> str:
    when = f" at step {score.global_step:,}" if score.global_step != at_step else ""
    return f"{score.exact_match:.1%} of {num_of(score.rows, 'row')}{when}"


def _only(one: "RecordedNumbers", other: "RecordedNumbers") -> str:
    """Head the files of one version; the other may have them, too, in part or after a way back."""
    return f"{one.version} was trained on, and {other.version} was not, or at other steps"


def _number(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def _file_lines(head: str, files: "Sequence[TrainedFile]", width: int) -> Iterator[str]:
    if not files:
        return
    yield from ("", head)
    for file in files[:FILES_SHOWN]:
        steps = steps_text(file.first_step, file.last_step)
        room = max(10, width - len(steps) - 4)
        name = printable(file.name)
        yield f"  {name if cell_len(name) <= room else chop_cells(name, room - 1)[0] + '…'}  {steps}"
    if more := files[FILES_SHOWN:]:
        yield f"  and {num_of(len(more), 'more file')}: --json shows them"


def _answer_lines(answer: "ComparedAnswer", before: str, after: str, width: int) -> Iterator[str]:
    """Yield a prompt, and below it both answers side by side."""
    yield from _fitting(f"> {printable(answer.prompt, limit=LONGEST_TEXT)}", width)
    if answer.is_same:
        yield from _fitting(f"both: {_text(answer.before)}", width)
        yield ""
        return
    column = (width - len(BETWEEN)) // 2
    left_lines = _fitting(f"{before}: {_text(answer.before)}", column)
    right_lines = _fitting(f"{after}: {_text(answer.after)}", column)
    for left, right in zip_longest(left_lines, right_lines, fillvalue=""):
        yield f"{left}{' ' * (column - cell_len(left))}{BETWEEN}{right}".rstrip()
    yield ""


def _text(text: str) -> str:
    return printable(text, limit=LONGEST_TEXT) if text.strip() else EMPTY


def _fitting(line: str, width: int) -> list[str]:
    """Return a line as lines of so many columns; some characters take two of them."""
    indent = " " * (len(line) - len(line.lstrip()))
    lines = wrap(line, width, subsequent_indent=f"{indent}  ")
    return [part for found in lines for part in chop_cells(found, width)]
