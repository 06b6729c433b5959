"""Look at every row of a file for what a sample cannot show: duplicates, leaks and private data.

About 5,000 rows a second; memory stays flat. Nothing here keeps a file from being trained.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from trainer.data.private_data import find_private_data
from trainer.data.row_table import Match, RowTable
from trainer.data.seen_rows import SeenRows, UnusableSeenRows
from trainer.data.sketch import Numbered, RowSketch, sketch_row
from trainer.protocol.deep import DeepFindings, Duplicates, Place, PrivateData, PrivatePattern

FIRST_SHOWN = 5
ROWS_BETWEEN_TICKS = 256


class _Tally:
    """Counts the rows that are like others."""

    def __init__(self) -> None:
        self._counts: Counter[bool] = Counter()
        self._first: list[Place] = []

    def note(self, match: Match | None) -> None:
        if match is None:
            return
        self._counts[match.is_exact] += 1
        if len(self._first) < FIRST_SHOWN:
            self._first.append(
                Place(
                    line=match.line,
                    other_file=match.other_file,
                    other_line=match.other_line,
                    similarity=round(match.similarity, 2),
                )
            )

    @property
    def found(self) -> Duplicates:
        return Duplicates(exact=self._counts[True], near=self._counts[False], first=tuple(self._first))


class _Secrets:
    """Counts the rows with private data of each kind."""

    def __init__(self, patterns: Sequence[PrivatePattern]) -> None:
        self._patterns = patterns
        self._rows: Counter[PrivatePattern] = Counter()
        self._first: dict[PrivatePattern, list[tuple[int, str]]] = {}

    def look_at(self, numbered: Numbered) -> None:
        line, conversation = numbered
        for pattern, beginning in find_private_data(conversation, self._patterns):
            self._rows[pattern] += 1
            first = self._first.setdefault(pattern, [])
            if len(first) < FIRST_SHOWN:
                first.append((line, beginning))

    @property
    def found(self) -> tuple[PrivateData, ...]:
        return tuple(
            PrivateData(pattern=pattern, rows=self._rows[pattern], first=tuple(self._first[pattern]))
            for pattern in self._patterns
            if self._rows[pattern]
        )


class _Earlier:
    """Asks the rows trained before, as long as they can be read."""

    def __init__(self, seen: SeenRows | None) -> None:
        self._seen = seen
        self.problem: str | None = None

    def find(self, row: RowSketch) -> Match | None:
        try:
            return self._seen.find(row) if self._seen else None
        except UnusableSeenRows as error:
            self._seen, self.problem = None, str(error)
            return None


def deep_findings(
    numbered: Iterable[Numbered],
    *,
    seen: SeenRows | None = None,
    held_out: RowTable | None = None,
    patterns: Sequence[PrivatePattern] = (),
    tick: Callable[[], object] = lambda: None,
) -> DeepFindings:
    """Return what all rows of a file have in common with others, and the private data in them.

    Args:
        numbered: the rows, with their lines.
        seen: rows trained before; None if there are none.
        held_out: rows that should not be trained.
        patterns: the kinds of private data to look for.
        tick: called every few rows; what it raises ends the look.
    """
    earlier, secrets, count = _Earlier(seen), _Secrets(patterns), 0
    before, within, leaked = _Tally(), _Tally(), _Tally()
    with closing(RowTable.temporary()) as own:
        file = own.new_file("", "this file")
        for count, (line, conversation) in enumerate(numbered, 1):
            row = sketch_row(line, conversation)
            before.note(earlier.find(row))
            leaked.note(held_out.find(row) if held_out else None)
            within.note(own.find(row))
            own.insert(file, [row])
            secrets.look_at((line, conversation))
            if count % ROWS_BETWEEN_TICKS == 0:
                tick()
    findings = DeepFindings(
        rows=count,
        trained_before=before.found,
        within_file=within.found,
        held_out=leaked.found,
        private_data=secrets.found,
    )
    messages = [*filter(None, [earlier.problem]), *_messages(findings)]
    return findings.model_copy(update={"messages": tuple(messages)})


def _messages(findings: DeepFindings) -> Iterator[str]:
    if findings.held_out.total:
        yield (
            f"{_share(findings.held_out, findings.rows)} also stand in held-out data; "
            f"{_like(findings.held_out)}; what is measured there will look better than it is; remove them "
            "here or there"
        )
    if findings.trained_before.total:
        yield (
            f"{_share(findings.trained_before, findings.rows)} were trained before; "
            f"{_like(findings.trained_before)}; remove them, unless they are to be trained again"
        )
    if findings.within_file.total:
        yield (
            f"{_share(findings.within_file, findings.rows)} repeat another row of the file; "
            f"{_like(findings.within_file)}; remove them, unless they are to count more"
        )
    for private in findings.private_data:
        line, beginning = private.first[0]
        yield (
            f"{private.rows:,} of {findings.rows:,} rows hold what looks like {private.pattern}; the first: "
            f"line {line}, beginning with {beginning}; the model may say it to anybody; remove or replace it"
        )


def _share(found: Duplicates, rows: int) -> str:
    kinds = f"{found.exact:,} the same, {found.near:,} nearly"
    return f"{found.total:,} of {rows:,} rows ({found.total / rows:.1%}; {kinds})"


def _like(found: Duplicates) -> str:
    first = found.first[0]
    return (
        f"the first: line {first.line} is line {first.other_line} of {first.other_file} "
        f"(similarity {first.similarity:.2f})"
    )
