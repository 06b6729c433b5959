"""A report on a file's rows as text for people."""

import shlex
from collections.abc import Iterator, Sequence

from trainer.protocol.data_report import DataReport
from trainer.protocol.text import num_of, printable

NO_ADMITTING = "training_queue retry --admit cannot change that; fix what is marked x"
LABELS_SHOWN = 5
OTHERS_SHOWN = 3
SIGNS = {"note": " ", "warning": "!", "block": "x"}


def report_lines(
    report: DataReport, *, is_in_queue: bool, queued_as: str | None = None, others: Sequence[str] = ()
) -> list[str]:
    """Return a report as lines for a terminal.

    Args:
        is_in_queue: whether `training_queue` knows the file.
        queued_as: the name that it would have there, if another one because it is a table.
        others: ids of the other jobs whose files have its name.
    """
    facts = [f"{name:<18}{value}" for name, value in _facts(report, others)]
    findings = [f"{SIGNS[finding.level]} {printable(finding.message)}" for finding in report.findings]
    verdict = _verdict(report, queued_as or report.file, is_in_queue=is_in_queue)
    return [*facts, "", *(findings or ["nothing unusual was found"]), "", verdict]


def _facts(report: DataReport, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "file", printable(report.file)
    if others and report.job_id:
        named = ", ".join(others[:OTHERS_SHOWN]) + (", …" if len(others) > OTHERS_SHOWN else "")
        yield "job", f"{report.job_id}; {num_of(len(others), 'other job')} had this name: {named}"
    if report.is_refused_at_intake:
        return  # nobody inspected the rows, so a figure would say nothing of them
    yield "rows", f"{report.rows:,}, and {report.rejected_rows:,} rejected"
    yield "inspected", f"{num_of(report.sampled_rows, 'row')} ({report.validation}); copies among all rows"
    if lengths := report.tokens:
        shown = ", ".join(f"{name} {value:,}" for name, value in lengths.model_dump().items())
        yield "tokens per row", shown
        limit = f"data.max_length ({report.max_length:,})"
        yield "too long", f"{report.over_max_length:.1%} have more than {limit}"
        yield "supervised", f"{report.supervised_share:.1%} of the tokens"
        yield "without target", num_of(report.rows_without_target, "row")
        if report.think_tag_percent is not None:
            yield "with thoughts", f"{report.think_tag_percent:.1f}% of the rows"
    yield "copies", num_of(report.duplicate_rows, "row")
    for name, values in report.classes.items():
        labels = [f"{printable(value)} {times:,}" for value, times in values.items()]
        yield name, ", ".join([*labels[:LABELS_SHOWN], *["…"] * (len(labels) > LABELS_SHOWN)])


def _verdict(report: DataReport, queued_as: str, *, is_in_queue: bool) -> str:
    if report.is_refused_at_intake:
        return f"it would be refused, and {NO_ADMITTING}"
    if not report.can_be_admitted:
        return f"it would not be trained, and {NO_ADMITTING}"
    if report.is_blocked:
        word = shlex.quote(queued_as)
        retry = f"training_queue retry {f'--admit -- {word}' if word.startswith('-') else f'{word} --admit'}"
        come = "drop it into inbox/" if queued_as == report.file else "add it with training_queue add"
        way = retry if is_in_queue else f"{come}, and once it has failed: {retry}"
        return f"it would not be trained unless it is admitted: {way}"
    if report.blocks:
        return "it was admitted, so it is trained despite what is marked x"
    return "it can be trained; check what is marked !" if report.warnings else "it can be trained"
