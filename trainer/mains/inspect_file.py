"""Inspect a file as a worker would before training it. A process of its own, because it loads transformers.

    python -m trainer.mains.inspect_file <order.json >report.json

Nothing is trained, no model is loaded, and nothing is kept.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from trainer.config.schema import Settings
from trainer.data.checks.file_check import FileCheck, RejectedRow, check_file
from trainer.data.checks.report import ReportLimits, RowReport
from trainer.mains.one_shot import Tell, serve
from trainer.protocol.data_report import INTAKE_RULE, DataReport, Finding, InspectionOrder
from trainer.protocol.job import Job
from trainer.protocol.text import num_of, printable

SAMPLED_ROWS = 20_000
REJECTIONS_NAMED = 5
ROWS_BETWEEN_WORDS = 2_000


def inspect(order: InspectionOrder, tell: Tell) -> DataReport:
    """Return the report on a file; one that could not even be accepted is blocked by that.

    Args:
        tell: called with how far it is.
    Raises:
        OSError: the file cannot be read.
        Exception: whatever keeps a worker from loading its tokenizer, or from rendering by these settings.
    """
    settings, path = Settings.model_validate(order.settings), Path(order.file)
    tell("reading every row")
    rejected: list[RejectedRow] = []

    def on_reject(row: RejectedRow) -> None:
        if len(rejected) < REJECTIONS_NAMED:
            rejected.append(row)

    check = check_file(
        path,
        max_line_bytes=settings.data.max_line_bytes,
        max_unpacked_bytes=settings.data.max_unpacked_bytes,
        fields=settings.data.fields,
        on_reject=on_reject,
    )
    job = check.to_job(id="inspected", name=path.name)
    findings = list(_of_rejected(rejected, check, settings.data.max_bad_row_fraction))
    if check.verdict(settings.data.max_bad_row_fraction):
        report = _empty_report(job, settings, findings)
    else:
        report = _inspected(order, job, settings, tell)
        report = report.model_copy(update={"findings": (*findings, *report.findings)})
    return report.model_copy(update={"job_id": None})


def _left_out(num_rows: int) -> str:
    return f"{num_of(num_rows, 'row')} {'is' if num_rows == 1 else 'are'} left out"


def _of_rejected(rejected: list[RejectedRow], check: FileCheck, limit: float) -> list[Finding]:
    """Say which rows could not be read, if any; and in words of its own if the file is refused for it."""
    why = check.verdict(limit)
    if not rejected and not why:
        return []
    num_bad = len(check.rejected_lines)
    share = num_bad / max(1, check.rows + num_bad)
    message = why or f"{_left_out(num_bad)}; the first: {check.first_rejection}"
    return [
        Finding(
            rule=INTAKE_RULE,
            level="block" if why else "warning",
            message=printable(message),
            rows=num_bad,
            share=share,
            limit=limit,
            lines=tuple(row.line for row in rejected),
        )
    ]


def _empty_report(job: Job, settings: Settings, findings: list[Finding]) -> DataReport:
    data = settings.data
    limits = ReportLimits(max_length=data.max_length, max_truncated_fraction=data.max_truncated_fraction)
    return RowReport(limits).report(job, validation="standard", duplicates=(), more=findings)


def _inspected(order: InspectionOrder, job: Job, settings: Settings, tell: Tell) -> DataReport:
    """Render rows and inspect them."""
    from trainer.data.rendering.render import ExampleRenderer
    from trainer.data.rendering.source import ExampleSource
    from trainer.model.tokenizer_only import load_tokenizer_only
    from trainer.pipeline.comparisons import open_deep_inspection
    from trainer.pipeline.example_pipeline import open_rows
    from trainer.pipeline.inspection import FileInspection
    from trainer.pipeline.job_plan import make_plan
    from trainer.pipeline.rendering import finder_of_oddities, make_renderer, renderer_without_limit
    from trainer.profiles.registry import make_profile

    base_dir = Path(order.base)
    profile = make_profile(settings.profile.name, settings.profile.options, base_dir=base_dir)
    tell("loading the tokenizer")
    renderer = ExampleRenderer(load_tokenizer_only(settings, profile, base_dir=base_dir))
    data = settings.data.model_copy(update={"validation": "deep" if order.deep else "standard"})
    settings = settings.model_copy(update={"data": data})
    render = make_renderer(profile, renderer, settings)
    # All is done on this thread; a source only wants to have another one
    with ThreadPoolExecutor(1) as executor, closing(open_rows(job, Path(order.file), settings)) as rows:
        plan = make_plan(job, settings, ())
        source = ExampleSource(rows, plan, render, executor=executor, lookahead=1, fields=data.fields)
        render_whole = renderer_without_limit(profile, renderer, settings)
        find_oddities = finder_of_oddities(profile, renderer, settings)
        with open_deep_inspection(settings, base_dir=base_dir) as deep:
            inspection = FileInspection(
                job, rows, source, render_whole, find_oddities, data, profile, wanted=SAMPLED_ROWS, deep=deep
            )
            while inspection.go_on():
                if inspection.num_inspected % ROWS_BETWEEN_WORDS == 0:
                    tell(f"{inspection.num_inspected:,} of {inspection.num_wanted:,} rows")
            return inspection.report()


if __name__ == "__main__":
    serve(InspectionOrder, inspect)
