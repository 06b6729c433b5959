"""The report on the model as one HTML page that loads nothing and runs nothing."""

import html
from collections.abc import Iterable, Iterator, Sequence
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
from daemon.cli.plot_page import STYLE, picture
from daemon.cli.plot_view import summary
from daemon.data_tools.html_page import END, head
from trainer.protocol.text import duration_text, printable

if TYPE_CHECKING:
    from daemon.client.results import Curve, ModelsReport

# A browser chooses between light and dark; the page says that it can be both
OWN_STYLE = """:root { color-scheme: light dark; }
h2 { margin-top: 2rem; font-size: 1.15rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; border-bottom: 1px solid #8886; white-space: nowrap; overflow-wrap: normal; }
.name { min-width: 12rem; }
.time { white-space: nowrap; overflow-wrap: normal; }
svg { max-height: 20rem; }
.number { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 1rem 0; }
dt { font-weight: 600; }
dd, li { overflow-wrap: anywhere; }
dd { margin: 0; }
code { font: .95em ui-monospace, monospace; background: #8882; padding: .1rem .3rem; border-radius: .2rem; }
.next { background: #3b6ea51a; border-left: .3rem solid #3b6ea5; padding: .6rem 1rem; }
.next h2 { margin-top: 0; border: 0; }
.next ul { margin: 0; padding-left: 1.2rem; }
@media (prefers-color-scheme: dark) {
body { color: #e6e6e6; background: #16181c; }
svg text { fill: #e6e6e6; }
.grid { stroke: #3a3f47; }
.range, .dot { fill: #7fb0e6; }
.mean { stroke: #7fb0e6; }
.next { background: #7fb0e61f; border-color: #7fb0e6; }
}
@media print { .next { border: 1px solid; } }"""
Row = Sequence[str]


def _shown(text: str) -> str:
    """Return a text as the page has it; its commands can be typed anywhere."""
    return html.escape(typed_here(text))


def page(report: "ModelsReport") -> str:
    """Return the page."""
    title = _shown(f"The model since {since_text(report)}")
    parts = [
        head(title, width_rem=70, style=f"{STYLE}\n{OWN_STYLE}"),
        f"<h1>{title}</h1>",
        *_facts(report),
        *_next(report),
        *_section("Training loss", _curve(report.loss)),
        *_section(report.validation.words.capitalize(), _curve(report.validation)),
        *_section("Trained", _files(report)),
        *_section("Failed or skipped", _ended_otherwise(report)),
        *_section("Versions", _versions(report)),
        *_section("Gone back", _list(map(went_back_text, report.went_back))),
        *_section("Gate", _list(map(verdict_text, report.gate))),
        *_section("Alerts, warnings and errors", _list(trouble_texts(report))),
        *_section("Crashes", _list(crash_texts(report))),
        END,
    ]
    return "\n".join(parts)


def _facts(report: "ModelsReport") -> Iterator[str]:
    facts = {
        "folder": report.base_dir,
        "daemon": daemon_text(report.daemon),
        "model": model_text(report),
        "trained": trained_text(report),
        **({"disk": disk_text(report.disk)} if report.disk else {}),
        "made at": f"{moment(report.made_at)} UTC",
    }
    yield "<dl>"
    yield from (f"<dt>{_shown(name)}</dt><dd>{_shown(text)}</dd>" for name, text in facts.items())
    yield "</dl>"


def _next(report: "ModelsReport") -> Iterator[str]:
    yield '<section class="next"><h2>Next</h2>'
    if not report.next:
        yield f"<p>{NOTHING_TO_DO}</p>"
    else:
        yield "<ul>"
        for step in report.next:
            command = _shown(step.command)
            yield f"<li>{_shown(step.why)}: <code>{command}</code></li>"
        yield "</ul>"
    yield "</section>"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a section; nothing if it has no content."""
    found = list(lines)
    if found:
        yield from (f"<section><h2>{_shown(title)}</h2>", *found, "</section>")


def _curve(curve: "Curve") -> Iterator[str]:
    if len(curve.points) > 1:
        yield from picture(curve)
    if curve.points:
        yield f"<p>{_shown(summary(curve))}</p>"


def _files(report: "ModelsReport") -> Iterator[str]:
    rows = [
        (
            file.name,
            file.state,
            f"{file.rows:,}",
            f"{file.steps:,}",
            f"{file.tokens:,}",
            duration_text(file.seconds),
            losses_text(file),
        )
        for file in report.files
    ]
    names = ("file", "state", "rows", "steps", "tokens", "time", "loss")
    yield from _table(names, rows, ("name", "", *["number"] * 5))
    if more := report.trained.files - len(report.files):
        yield f"<p>… and {more:,} earlier</p>"


def _ended_otherwise(report: "ModelsReport") -> Iterator[str]:
    found = report.ended_otherwise
    rows = [(moment(file.at), file.outcome, file.name, why_text(file)) for file in found]
    yield from _table(("at (UTC)", "outcome", "file", "why"), rows, ("time", "time", "name", "name"))
    if more := report.num_ended_otherwise - len(found):
        yield f"<p>… and {more:,} earlier</p>"


def _versions(report: "ModelsReport") -> Iterator[str]:
    rows = [
        (
            version.id,
            moment(version.made_at),
            f"{version.global_step:,}",
            version_loss(version.validation_loss, version.validation_weights),
            maker_text(version.made_by).removeprefix("by "),
            ", ".join(
                [
                    *["current"] * version.is_current,
                    *version.aliases,
                    *(f"#{tag}" for tag in version.tags),
                    *(printable(note) for note in version.notes),
                ]
            ),
        )
        for version in report.versions
    ]
    names = ("version", "made (UTC)", "step", "validation", "made by", "names and notes")
    yield from _table(names, rows, ("time", "time", "number", "number", "time", "name"))
    yield from _list(f"{name}: damaged: {problem}" for name, problem in report.damaged_versions.items())


def _table(names: Row, rows: Sequence[Row], kinds: Row) -> Iterator[str]:
    """Yield a table; nothing without rows.

    Args:
        kinds: of the columns: rules of the style.
    """
    if not rows:
        return

    def line(tag: str, row: Row) -> str:
        texts = (
            f'<{tag} class="{kind}">{_shown(text)}</{tag}>' for kind, text in zip(kinds, row, strict=True)
        )
        return f"<tr>{''.join(texts)}</tr>"

    yield '<div class="scroll"><table>'
    yield line("th", names)
    yield from (line("td", row) for row in rows)
    yield "</table></div>"


def _list(texts: Iterable[str]) -> Iterator[str]:
    found = [f"<li>{_shown(text)}</li>" for text in texts]
    if found:
        yield from ("<ul>", *found, "</ul>")
