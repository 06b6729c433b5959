"""Inspect every row of a file for what a sample cannot show: duplicates, leaks and private data.

About 5,000 rows a second; memory stays flat. Nothing here keeps a file from being trained.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from trainer.data.checks.minhash import Numbered, RowMinHash, minhash_row
from trainer.data.checks.private_data import find_private_data
from trainer.data.checks.row_table import Match, RowTable
from trainer.data.checks.seen_rows import SeenRows, UnusableSeenRows
from trainer.data.conversation import Conversation
from trainer.protocol.data_report import Finding
from trainer.protocol.deep_findings import DeepFindings, Duplicates, Place, PrivateData, PrivatePattern
from trainer.protocol.text import printable

FIRST_SHOWN = 5
DUPLICATE_LIMIT = 0.01  # up to which it is only a note


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

    def note(self, numbered: Numbered) -> None:
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
        self.problem = seen.notice if seen else None

    def find(self, row: RowMinHash) -> Match | None:
        try:
            return self._seen.find(row) if self._seen else None
        except UnusableSeenRows as error:
            self._seen, self.problem = None, str(error)
            return None


class DeepInspection:
    """Takes in the rows of a file one by one, and says at the end what was found. For one thread at a time.

    Args:
        seen: rows trained before; None if there are none.
        held_out: rows that should not be trained.
        patterns: the kinds of private data to search for.
    """

    def __init__(
        self,
        *,
        seen: SeenRows | None = None,
        held_out: RowTable | None = None,
        patterns: Sequence[PrivatePattern] = (),
    ) -> None:
        self._earlier = _Earlier(seen)
        self._held_out = held_out
        self._secrets = _Secrets(patterns)
        self._own = RowTable.temporary()
        self._file = self._own.new_file("", "this file")
        self._num_rows = 0
        self._before, self._within, self._leaked = _Tally(), _Tally(), _Tally()

    def note(self, line: int, conversation: Conversation) -> None:
        """Take note of a row; rows come in the order of the file."""
        row = minhash_row(line, conversation)
        self._before.note(self._earlier.find(row))
        self._leaked.note(self._held_out.find(row) if self._held_out else None)
        self._within.note(self._own.find(row))
        self._own.insert(self._file, [row])
        self._secrets.note((line, conversation))
        self._num_rows += 1

    def findings(self) -> DeepFindings:
        """Return what was found so far."""
        found = DeepFindings(
            rows=self._num_rows,
            trained_before=self._before.found,
            within_file=self._within.found,
            held_out=self._leaked.found,
            private_data=self._secrets.found,
        )
        problems = [_of_unreadable(self._earlier.problem)] if self._earlier.problem else []
        return found.model_copy(update={"findings": (*problems, *_findings(found))})

    def close(self) -> None:
        """Let go of what was noted; what was given stays open."""
        self._own.close()


def _findings(found: DeepFindings) -> Iterator[Finding]:
    if (leaked := found.held_out).total:
        what = "also appear in held-out data"
        advice = "what is measured there will look better than it is; remove them here or there"
        yield _finding("held_out", leaked, found.rows, what, advice, limit=0.0)
    if (before := found.trained_before).total:
        advice = "remove them, unless they are to be trained again"
        yield _finding(
            "trained_before", before, found.rows, "were trained before", advice, limit=DUPLICATE_LIMIT
        )
    if (within := found.within_file).total:
        what, advice = "repeat another row of the file", "remove them, unless they are to count more"
        yield _finding("repeated_rows", within, found.rows, what, advice, limit=DUPLICATE_LIMIT)
    for private in found.private_data:
        yield _of_private_data(private, found.rows)


def _finding(
    rule: str, duplicates: Duplicates, rows: int, what: str, advice: str, *, limit: float
) -> Finding:
    share = duplicates.total / rows
    kinds = f"{duplicates.exact:,} the same, {duplicates.near:,} nearly"
    first = duplicates.first[0]
    return Finding(
        rule=rule,
        level="warning" if share > limit else "note",
        message=(
            f"{duplicates.total:,} of {rows:,} rows ({share:.1%}; {kinds}) {what}; the first: "
            f"line {first.line} is line {first.other_line} of {first.other_file} "
            f"(similarity {first.similarity:.2f}); {advice}"
        ),
        rows=duplicates.total,
        share=share,
        limit=limit,
        lines=tuple(place.line for place in duplicates.first),
    )


def _of_private_data(private: PrivateData, rows: int) -> Finding:
    line, beginning = private.first[0]
    return Finding(
        rule=private.pattern,
        level="warning",
        message=(
            f"{private.rows:,} of {rows:,} rows hold what looks like {private.pattern}; the first: "
            f"line {line}, beginning with {beginning}; the model may repeat it to anyone; remove or "
            "replace it"
        ),
        rows=private.rows,
        share=private.rows / rows,
        limit=0.0,
        lines=tuple(line for line, _ in private.first),
    )


def _of_unreadable(problem: str) -> Finding:
    return Finding(rule="seen_rows", level="warning", message=printable(problem), rows=0, share=0.0)
