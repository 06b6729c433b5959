"""Inspect rows before they are trained, and report what is unusual. Pure, and flat in memory.

rows, one after another -> RowReport -> DataReport
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.data.checks.answers import ANSWER_RULES, answers_of
from trainer.data.checks.different_answers import AnswerComparison
from trainer.data.conversation import Conversation
from trainer.data.reading.rows import BadRow
from trainer.data.rendering.refused_rows import message_with_way_out
from trainer.data.rendering.render import Example
from trainer.protocol.data_report import DataReport, Depth, Finding, Level, TokenLengths
from trainer.protocol.job import Job
from trainer.protocol.text import printable

LINES_NAMED = 5
LABELS = ("label", "skill")  # what a row may say of itself, and a report counts
CLASSES_SHOWN = 20
CLASSES_COUNTED = 10_000  # what is most frequent has come before there were so many others
LEAST_TO_COMPARE = 20  # rows, without which nothing can be said of balance
SHORT_ANSWER = 40  # characters
DUPLICATE_LIMIT = 0.01
WITHOUT_TARGET_LIMIT = 0.01
PROFILE_FAULTS_LIMIT = 0.01
SAME_VALUE_LIMIT = 0.95


@dataclass(frozen=True, slots=True)
class InspectedRow:
    """A row as it stands in the file, and as it would be trained."""

    line: int
    conversation: Conversation
    examples: Sequence[Example]
    num_tokens: int
    """If nothing were cut."""
    faults: Sequence[str] = ()
    """What the profile finds wrong with it."""
    hidden: Sequence[str] = ()
    """Parts that the chat template does not show, in words."""
    quotes_control_tokens: bool = False
    thinks: bool = False
    """Whether a supervised turn has thoughts in it, as the profile has it."""

    def is_cut(self, max_length: int) -> bool:
        """Whether a part of it would not be trained, because it is too long."""
        is_left_out = not self.examples and self.num_tokens > max_length
        return is_left_out or any(example.is_truncated for example in self.examples)


@dataclass(frozen=True, kw_only=True)
class ReportLimits:
    """As in `DataSettings`."""

    max_length: int
    max_truncated_fraction: float


@dataclass(slots=True)
class Tally:
    """Rows that a rule has found."""

    rows: int = 0
    lines: list[int] = field(default_factory=list)

    def note(self, line: int) -> None:
        self.rows += 1
        if len(self.lines) < LINES_NAMED:
            self.lines.append(line)


def spread(num_rows: int, wanted: int) -> list[int]:
    """Return positions spread evenly over a file; all of them if they are not more than wanted."""
    taken = min(num_rows, wanted)
    return [i * num_rows // taken for i in range(taken)]


def find_duplicates(hashes: "array[int]") -> list[int]:
    """Return the positions of rows with the hash of an earlier row, ascending."""
    if not hashes:
        return []
    values = np.frombuffer(hashes, dtype=np.int64)
    order = np.argsort(values, kind="stable")  # so the first of equal ones stays the first
    is_copy = np.zeros(len(values), dtype=bool)
    is_copy[order[1:]] = values[order[1:]] == values[order[:-1]]
    found: list[int] = np.flatnonzero(is_copy).tolist()
    return found


class RowReport:
    """Takes in rows one by one, and says at the end what they are like."""

    def __init__(self, limits: ReportLimits) -> None:
        self._limits = limits
        self._lengths = array("I")
        self._trained_tokens = self._supervised_tokens = 0
        self._cut = Tally()
        self._without_target = Tally()
        self._unrenderable = Tally()
        self._first_error = ""
        self._odd_for_profile = Tally()
        self._first_fault = ""
        self._hidden, self._quoting = Tally(), Tally()
        self._num_thinking = 0
        self._first_hidden = ""
        self._defects = {rule.name: Tally() for rule in ANSWER_RULES}
        self._short_answers: Counter[str] = Counter()
        self._comparison = AnswerComparison()
        self._classes: dict[str, Counter[str]] = {name: Counter() for name in LABELS}

    # ---- rows

    def note(self, row: InspectedRow) -> None:
        """Take note of a row."""
        supervised = sum(example.supervised_tokens for example in row.examples)
        self._lengths.append(row.num_tokens)
        self._trained_tokens += sum(len(example.token_ids) for example in row.examples)
        self._supervised_tokens += supervised
        if row.is_cut(self._limits.max_length):
            self._cut.note(row.line)
        if not supervised:
            self._without_target.note(row.line)
        if row.faults:
            self._first_fault = self._first_fault or f"line {row.line}: {row.faults[0]}"
            self._odd_for_profile.note(row.line)
        if row.hidden:
            self._first_hidden = self._first_hidden or row.hidden[0]
            self._hidden.note(row.line)
        if row.quotes_control_tokens:
            self._quoting.note(row.line)
        self._num_thinking += row.thinks
        self._note_answers(row)
        self._comparison.note(row.line, row.conversation)
        for name, counter in self._classes.items():
            _count(counter, row.conversation.metadata.get(name))

    def note_unrenderable(self, line: int, error: BadRow) -> None:
        """Take note of a row that cannot be trained."""
        self._first_error = self._first_error or message_with_way_out(error)
        self._unrenderable.note(line)

    def _note_answers(self, row: InspectedRow) -> None:
        answers = answers_of(row.conversation)
        for rule in ANSWER_RULES:
            if any(map(rule.is_broken_by, answers)):
                self._defects[rule.name].note(row.line)
        if answers and len(answers[-1].text) <= SHORT_ANSWER:
            _count(self._short_answers, answers[-1].text.strip())

    # ---- what they are like

    def report(
        self, job: Job, *, validation: Depth, duplicates: Sequence[int], more: Sequence[Finding] = ()
    ) -> DataReport:
        """Return what was found.

        Args:
            validation: how it was inspected.
            duplicates: lines of the file that are copies of earlier ones.
            more: findings of others.
        """
        return DataReport(
            file=printable(job.name),
            sha256=job.sha256,
            job_id=job.id,
            validation=validation,
            rows=job.rows,
            rejected_rows=len(job.rejected_lines),
            sampled_rows=self._num_rows,
            max_length=self._limits.max_length,
            tokens=self._token_lengths(),
            over_max_length=self._share(int(np.sum(self._length_array() > self._limits.max_length))),
            supervised_share=self._supervised_tokens / max(1, self._trained_tokens),
            rows_without_target=self._without_target.rows,
            duplicate_rows=len(duplicates),
            classes={
                name: dict(counter.most_common(CLASSES_SHOWN))
                for name, counter in self._classes.items()
                if counter
            },
            think_tag_percent=100 * self._num_thinking / len(self._lengths) if self._lengths else None,
            findings=(*self._findings(job.rows), *_of_duplicates(duplicates, job.rows), *more),
        )

    @property
    def _num_rows(self) -> int:
        return len(self._lengths) + self._unrenderable.rows

    def _share(self, rows: int) -> float:
        return rows / max(1, self._num_rows)

    def _length_array(self) -> Any:
        return np.frombuffer(self._lengths, dtype=np.uint32) if self._lengths else np.zeros(0, np.uint32)

    def _token_lengths(self) -> TokenLengths | None:
        if not self._lengths:
            return None
        at = np.quantile(self._length_array(), [0, 0.5, 0.95, 0.99, 1], method="higher")
        return TokenLengths(**dict(zip(TokenLengths.model_fields, map(int, at), strict=True)))

    def _findings(self, rows_of_file: int) -> Iterator[Finding]:
        kind = "rows" if self._num_rows == rows_of_file else "sampled rows"
        if self._unrenderable.rows:
            what = f"cannot be trained; the first error: {self._first_error}"
            yield self._finding("unrenderable", self._unrenderable, what, kind, limit=0.0, over="block")
        if self._cut.rows:
            yield self._finding_about_cut_rows(kind)
        if self._without_target.rows:
            yield self._finding_about_targets(kind)
        if self._odd_for_profile.rows:
            what, limit = f"are unusual for the profile; the first: {self._first_fault}", PROFILE_FAULTS_LIMIT
            yield self._finding("profile_faults", self._odd_for_profile, what, kind, limit=limit)
        if self._hidden.rows:
            what = f"lose context that the chat template does not show, first {self._first_hidden}"
            yield self._finding("hidden_parts", self._hidden, what, kind, limit=0.0)
        if self._quoting.rows:
            what = "quote control tokens of the model (data.quoted_control_tokens says what becomes of them)"
            yield self._finding("quoted_control_tokens", self._quoting, what, kind, limit=0.0)
        for rule in ANSWER_RULES:
            if (tally := self._defects[rule.name]).rows:
                yield self._finding(rule.name, tally, rule.what, kind, limit=rule.limit)
        yield from self._findings_about_comparison(kind)
        yield from self._findings_about_balance(kind)

    def _finding_about_cut_rows(self, kind: str) -> Finding:
        tokens = f"{self._limits.max_length:,} tokens; the longest has {max(self._lengths):,}"
        what = f"do not fit into data.max_length ({tokens})"
        limit = self._limits.max_truncated_fraction
        return self._finding("over_max_length", self._cut, what, kind, limit=limit, over="block")

    def _finding_about_targets(self, kind: str) -> Finding:
        what = f"have nothing to train within data.max_length ({self._limits.max_length:,} tokens)"
        is_all = self._without_target.rows == self._num_rows
        over: Level = "block" if is_all else "warning"
        limit = WITHOUT_TARGET_LIMIT
        return self._finding("without_target", self._without_target, what, kind, limit=limit, over=over)

    def _findings_about_comparison(self, kind: str) -> Iterator[Finding]:
        found = self._comparison.found()
        if not found.prompts:
            return
        pairs = ", ".join(f"{line} and {other}" for line, other in found.first)
        more = ", …" if found.prompts > len(found.first) else ""
        prompts = "1 prompt is" if found.prompts == 1 else f"{found.prompts:,} prompts are"
        yield Finding(
            rule="different_answers",
            level="warning",
            message=(
                f"{prompts} answered in different ways ({found.rows:,} of {self._num_rows:,} {kind}); "
                f"lines {pairs}{more}; all are trained; leave out what is not meant"
            ),
            rows=found.rows,
            share=self._share(found.rows),
            lines=tuple(line for pair in found.first for line in pair),
        )

    def _findings_about_balance(self, kind: str) -> Iterator[Finding]:
        yield from self._of_one_value("same_answer", "have the short answer", self._short_answers, kind)
        for name, values in self._classes.items():
            if len(values) > 1:  # one value for all is what many files are about
                yield from self._of_one_value(f"same_{name}", f"have the {name}", values, kind)

    def _of_one_value(self, rule: str, what: str, values: Counter[str], kind: str) -> Iterator[Finding]:
        if self._num_rows < LEAST_TO_COMPARE or not values:
            return
        value, times = values.most_common(1)[0]
        if times > SAME_VALUE_LIMIT * self._num_rows:
            text = f'{what} "{printable(value, limit=SHORT_ANSWER)}"'
            yield self._finding(rule, Tally(times), text, kind, limit=SAME_VALUE_LIMIT)

    def _finding(
        self, rule: str, tally: Tally, what: str, kind: str, *, limit: float, over: Level = "warning"
    ) -> Finding:
        return _finding(rule, tally, what, of=self._num_rows, kind=kind, limit=limit, over=over)


def _of_duplicates(lines: Sequence[int], num_rows: int) -> Iterator[Finding]:
    if lines:
        tally = Tally(len(lines), list(lines[:LINES_NAMED]))
        what = "are exact copies of earlier ones"
        yield _finding(
            "duplicates", tally, what, of=num_rows, kind="rows", limit=DUPLICATE_LIMIT, over="warning"
        )


def _finding(rule: str, tally: Tally, what: str, *, of: int, kind: str, limit: float, over: Level) -> Finding:
    share = tally.rows / of
    level: Level = over if share > limit else "note"
    bound = f"limit {_percent(limit)}" if over == "block" else f"a warning above {_percent(limit)}"
    message = f"{tally.rows:,} of {of:,} {kind} ({_percent(share)}, {bound}) {what}"
    if tally.lines:
        more = ", …" if tally.rows > len(tally.lines) else ""
        kind_of_place = "line" if tally.rows == 1 else "lines"
        message += f"; {kind_of_place} {', '.join(map(str, tally.lines))}{more}"
    return Finding(
        rule=rule,
        level=level,
        message=printable(message),
        rows=tally.rows,
        share=share,
        limit=limit,
        lines=tuple(tally.lines),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _count(counter: Counter[str], value: object) -> None:
    """Count a value that is text or number, as long as there are not too many different ones."""
    if isinstance(value, str | int | float | bool):
        text = str(value)[:SHORT_ANSWER]
        if text in counter or len(counter) < CLASSES_COUNTED:
            counter[text] += 1
