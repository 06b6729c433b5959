"""Write an analysis as one HTML page that loads nothing and runs nothing.

What comes from the file is made printable, and escaped, in one place: `_safe`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from html import escape
from itertools import islice

from daemon.data_tools.analysis.findings import Analysis, Duplicates, Sampled
from daemon.data_tools.html_page import END, head
from daemon.data_tools.reading import LeftOut
from trainer.protocol.text import printable

STYLE = """table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, td.text { text-align: left; }
svg rect { fill: #3b6ea5; }
.note { color: #555; }"""
BAR_HEIGHT, LABEL_WIDTH, BAR_WIDTH, CHART_WIDTH = 22, 160, 440, 700
TURNS_SHOWN = 20


def page(name: str, analysis: Analysis, left_out: LeftOut) -> str:
    """Return the page about the file `name`."""
    parts = [
        head(_safe(f"Analysis of {name}"), width_rem=60, style=STYLE),
        f"<h1>{_safe(name)}</h1>",
        _overview(analysis, left_out),
        "<h2>Lengths</h2>",
        _lengths(analysis),
        "<h2>Characters of answers</h2>",
        _chart(analysis.answer_lengths),
        "<h2>Messages per row</h2>",
        _chart({str(turns): rows for turns, rows in islice(analysis.turns.items(), TURNS_SHOWN)}),
        _duplicates(analysis.duplicates),
        _sampled(analysis.sampled),
        END,
    ]
    return "\n".join(parts)


def _safe(value: object) -> str:
    """Return text that a page shows and never obeys."""
    return escape(printable(str(value)))


def _overview(analysis: Analysis, left_out: LeftOut) -> str:
    rows = [("rows", f"{analysis.rows:,}"), ("rows that cannot be trained", f"{left_out.count:,}")]
    rows += [(f"format {name}", f"{count:,}") for name, count in analysis.formats.items()]
    rows += [(f"messages of {role}", f"{count:,}") for role, count in analysis.roles.items()]
    reasons = "".join(f"<li>{_safe(reason)}</li>" for reason in left_out.first)
    return _table((), rows) + (f"<ul>{reasons}</ul>" if reasons else "")


def _lengths(analysis: Analysis) -> str:
    header = ("", "least", "5 %", "median", "mean", "95 %", "99 %", "most", "all together")
    rows = []
    for what, spread in analysis.lengths.items():
        rows.append((what, *(f"{value:,.0f}" for value in astuple(spread))))
    return _table(header, rows)


def _duplicates(duplicates: Duplicates) -> str:
    rows = [(f"{count:,}", f"{line:,}") for count, line in duplicates.largest_groups]
    table = _table(("times", "first on line"), rows) if rows else ""
    return f"<h2>Duplicates</h2><p>{duplicates.extra_rows:,} rows repeat an earlier one.</p>{table}"


def _sampled(sampled: Sampled) -> str:
    vocabulary = sampled.vocabulary
    ratio = vocabulary.type_token_ratio
    richness = "" if ratio is None else f", {1000 * ratio:,.0f} of 1,000 successive ones"
    return "\n".join(
        [
            f'<p class="note">The rest is about a sample of {sampled.rows:,} rows, '
            f"at most {sampled.characters_per_row:,} characters of each, without system prompts.</p>",
            f"<h2>Words</h2><p>{vocabulary.words:,}, {vocabulary.distinct:,} of them distinct{richness}.</p>",
            _chart(dict(vocabulary.most_frequent)),
            "<h2>Scripts</h2>",
            _table((), _shares(sampled.scripts)),
            "<h2>Languages</h2>",
            _table((), _shares(sampled.languages)),
            '<p class="note">Guessed from common words.</p>',
            _topics(sampled),
        ]
    )


def _topics(sampled: Sampled) -> str:
    header = ("of rows", "words", "line", "example")
    rows = [
        (f"{topic.share:.1%}", ", ".join(topic.words), f"{topic.example_line:,}", topic.example)
        for topic in sampled.topics
    ]
    return f"<h2>Topics</h2>{_table(header, rows)}" if rows else ""


def _shares(shares: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(name, f"{share:.1%}") for name, share in shares.items()]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_safe(cell)}</th>" for cell in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"


def _chart(counts: Mapping[str, int]) -> str:
    """Return a picture with a bar for each count."""
    largest = max(counts.values(), default=1) or 1
    bars = []
    for i, (label, count) in enumerate(counts.items()):
        top, width = i * BAR_HEIGHT, BAR_WIDTH * count / largest
        bars.append(
            f'<text x="{LABEL_WIDTH - 8}" y="{top + 15}" text-anchor="end">{_safe(label)}</text>'
            f'<rect x="{LABEL_WIDTH}" y="{top + 3}" width="{width:.1f}" height="{BAR_HEIGHT - 6}"/>'
            f'<text x="{LABEL_WIDTH + width + 8:.1f}" y="{top + 15}">{count:,}</text>'
        )
    size = f'width="{CHART_WIDTH}" height="{max(1, len(bars)) * BAR_HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n' + "\n".join(bars) + "\n</svg>"
