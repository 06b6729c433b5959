"""A report has figures and findings; what is beyond its limit is a warning or a block."""

from array import array
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.benchmarks.workload import make_rows
from scripts.demo import puzzles
from trainer.data.checks.report import (
    LINES_NAMED,
    InspectedRow,
    ReportLimits,
    RowReport,
    find_duplicates,
    spread,
)
from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import BadRow
from trainer.data.rendering.render import Example, ExampleRenderer, example_of
from trainer.model import tiny
from trainer.protocol.data_report import DataReport, Finding, TokenLengths
from trainer.protocol.job import Job, Priority

MAX_LENGTH = 10
LONG_ANSWER = "It is fine, and nothing else could be said of it."


def example(num_tokens: int = 4, learned: int = 2, *, is_truncated: bool = False) -> Example:
    spans = [(num_tokens - learned, num_tokens)]
    return example_of(list(range(num_tokens)), spans, is_truncated=is_truncated)


def sampled(
    line: int = 1,
    answer: str = LONG_ANSWER,
    *examples: Example,
    num_tokens: int | None = None,
    **metadata: Any,
) -> InspectedRow:
    asked = Message("user", f"hm? {answer}")  # each answer has a prompt of its own
    conversation = Conversation((asked, Message("assistant", answer)), metadata=metadata)
    examples = examples or (example(),)
    if num_tokens is None:
        num_tokens = sum(len(each.token_ids) for each in examples)
    return InspectedRow(line, conversation, examples, num_tokens)


def cut(line: int = 1, num_tokens: int = 25) -> InspectedRow:
    return sampled(line, LONG_ANSWER, example(MAX_LENGTH, is_truncated=True), num_tokens=num_tokens)


def report_on(
    *rows: InspectedRow, duplicates: tuple[int, ...] = (), num_rows: int | None = None
) -> DataReport:
    found = RowReport(ReportLimits(max_length=MAX_LENGTH, max_truncated_fraction=0.05))
    for row in rows:
        found.note(row)
    job = Job(
        id="a",
        name="a.jsonl",
        priority=Priority.NORMAL,
        sha256="ab",
        rows=len(rows) if num_rows is None else num_rows,
        size_bytes=1,
        rejected_lines=(7,),
    )
    return found.report(job, validation="standard", duplicates=duplicates)


def levels(report: DataReport) -> dict[str, str]:
    return {finding.rule: finding.level for finding in report.findings}


def test_the_figures_are_those_of_the_rows():
    lengths = [*range(1, 101)]
    rows = [sampled(n, str(n), example(4, 1), num_tokens=n, skill="add") for n in lengths]

    report = report_on(*rows, duplicates=(5, 9), num_rows=1000)

    assert report.tokens == TokenLengths(min=1, median=51, p95=96, p99=100, max=100)
    assert (report.rows, report.sampled_rows, report.rejected_rows, report.duplicate_rows) == (
        1000,
        100,
        1,
        2,
    )
    assert (report.over_max_length, report.supervised_share) == (0.9, 0.25)
    assert report.classes == {"skill": {"add": 100}}


@pytest.mark.parametrize("num_cut, level", [(5, "note"), (6, "block")])
def test_too_many_cut_rows_block_a_file(num_cut, level):
    rows = [cut(line) for line in range(1, num_cut + 1)]

    [finding] = report_on(*rows, *[sampled(50)] * (100 - num_cut)).findings

    assert (finding.rule, finding.level, finding.rows, finding.limit) == (
        "over_max_length",
        level,
        num_cut,
        0.05,
    )
    assert finding.lines == (1, 2, 3, 4, 5)
    assert finding.message.startswith(
        f"{num_cut} of 100 rows ({num_cut} %, limit 5 %) do not fit into data.max_length "
        "(10 tokens; the longest has 25); lines 1, 2, 3, 4, 5"
    )


def test_a_long_row_that_is_split_is_not_cut():
    report = report_on(sampled(1, LONG_ANSWER, example(10), example(10), num_tokens=20))

    assert (report.over_max_length, report.findings) == (1.0, ())


def test_a_long_row_that_is_left_out_counts_as_cut():
    row = sampled(num_tokens=20)

    report = report_on(InspectedRow(1, row.conversation, (), 20), sampled(2))

    assert levels(report)["over_max_length"] == "block"


@pytest.mark.parametrize("empty, level", [(1, "note"), (2, "warning"), (100, "block")])
def test_rows_with_nothing_to_learn_are_told_and_block_when_all_are(empty, level):
    rows = [sampled(n, LONG_ANSWER, example(4, 0)) for n in range(empty)]

    report = report_on(*rows, *[sampled()] * (100 - empty))

    assert report.rows_without_target == empty
    assert levels(report) == {"without_target": level}


def test_a_row_that_cannot_be_trained_blocks_with_its_line_and_error():
    found = RowReport(ReportLimits(max_length=10, max_truncated_fraction=0.05))
    found.note(sampled())
    found.note_unrenderable(4, BadRow("it \x1b[31m fails"))
    job = Job(id="a", name="a", priority=Priority.NORMAL, sha256="", rows=2, size_bytes=1)

    [finding] = found.report(job, validation="standard", duplicates=()).blocks

    assert finding.message == (
        "1 of 2 rows (50 %, limit 0 %) cannot be trained; the first error: it \\x1b[31m fails; line 4"
    )


@pytest.mark.parametrize("bad, level", [(1, "note"), (2, "warning")])
@pytest.mark.parametrize(
    "rule, answer",
    [
        ("empty_answers", " "),
        ("repetitive_answers", "no " * 50),
        ("mojibake", "cafÃ©"),
        ("control_characters", "\x1b[0m"),
        ("echoes", "hm? Please tell me more about it"),
    ],
)
def test_degenerate_answers_are_warned_of_beyond_one_percent(rule, answer, bad, level):
    broken = sampled(3, answer)
    prompt = Message("user", "hm? Please tell me more")
    broken = InspectedRow(3, Conversation((prompt, broken.conversation.messages[1])), broken.examples, 4)

    report = report_on(*[broken] * bad, *[sampled(n, str(n)) for n in range(100 - bad)])

    [finding] = report.findings
    assert (finding.rule, finding.level, finding.rows, finding.lines[0]) == (rule, level, bad, 3)


def test_only_the_first_lines_are_named():
    [finding] = report_on(*[sampled(n, "") for n in range(1, 10)]).findings

    assert finding.lines == tuple(range(1, LINES_NAMED + 1))
    assert finding.message.endswith("lines 1, 2, 3, 4, 5, …")


@pytest.mark.parametrize("copies, level", [(10, "note"), (11, "warning")])
def test_copies_are_counted_among_all_rows(copies, level):
    report = report_on(sampled(), duplicates=tuple(range(copies)), num_rows=1000)

    assert levels(report) == {"duplicates": level}


@pytest.mark.parametrize("same, expected", [(95, {}), (96, {"same_answer": "warning"})])
def test_an_answer_that_nearly_all_rows_have_is_told(same, expected):
    rows = [sampled(n, "yes" if n < same else f"no {n}") for n in range(100)]

    report = report_on(*rows)

    assert levels(report) == expected
    assert all('have the short answer "yes"' in finding.message for finding in report.findings)


@pytest.mark.parametrize(
    "labels, expected", [("ab" + 98 * "a", ["same_label"]), ("a" * 100, []), ("ab" * 50, [])]
)
def test_a_label_that_nearly_all_rows_have_is_told_if_there_are_others(labels, expected):
    rows = [sampled(n, str(n), label=label) for n, label in enumerate(labels)]

    assert [finding.rule for finding in report_on(*rows).findings] == expected


def test_of_few_rows_nothing_is_said_about_balance():
    assert report_on(*[sampled(n, "yes") for n in range(19)]).findings == ()


def test_labels_are_printable_in_messages():
    rows = [sampled(n, "\x1b[2J" if n else "fine") for n in range(100)]

    messages = [finding.message for finding in report_on(*rows).findings if finding.rule == "same_answer"]

    assert 'the short answer "\\x1b[2J"' in messages[0]


def test_a_file_without_rows_has_a_report_without_figures():
    report = report_on()

    assert (report.tokens, report.findings, report.is_blocked) == (None, (), False)


@pytest.mark.parametrize("is_admitted", [True, False])
def test_an_admitted_file_is_never_blocked(is_admitted):
    report = report_on(cut()).model_copy(update={"is_admitted": is_admitted})

    assert report.is_blocked == (not is_admitted)
    assert len(report.blocks) == 1


@pytest.mark.parametrize("rule, can_be_trained", [("over_max_length", True), ("unrenderable", False)])
def test_a_file_of_which_nothing_can_be_made_stays_blocked_whoever_admits_it(rule, can_be_trained):
    [block] = report_on(cut()).blocks
    blocked = report_on(cut()).model_copy(update={"findings": (block.model_copy(update={"rule": rule}),)})

    assert blocked.can_be_admitted == can_be_trained
    assert blocked.model_copy(update={"is_admitted": True}).is_blocked != can_be_trained


def ordinary_findings(rows: Any) -> tuple[Finding, ...]:
    renderer = ExampleRenderer(tiny.tokenizer())
    conversations = [read_conversation(row) for row in rows]
    examples = renderer.render(conversations, max_length=2048)
    found = RowReport(ReportLimits(max_length=2048, max_truncated_fraction=0.05))
    for line, (conversation, each) in enumerate(zip(conversations, examples, strict=True), start=1):
        found.note(InspectedRow(line, conversation, each, sum(len(part.token_ids) for part in each)))
    job = Job(id="a", name="a", priority=Priority.NORMAL, sha256="", rows=len(examples), size_bytes=1)
    return found.report(job, validation="standard", duplicates=()).findings


def test_the_rows_of_the_benchmarks_are_ordinary():
    # They are drawn from few words, so a prompt may come again with another answer
    assert {finding.rule for finding in ordinary_findings(make_rows(300))} <= {"different_answers"}


def test_the_rows_of_the_demonstration_are_ordinary():
    assert ordinary_findings(puzzle.as_row() for puzzle in islice(puzzles(seed=7), 300)) == ()


@given(num_rows=st.integers(0, 5000), wanted=st.integers(1, 1000))
def test_a_sample_is_spread_evenly_and_has_no_row_twice(num_rows, wanted):
    positions = spread(num_rows, wanted)

    gaps = {b - a for a, b in pairwise(positions)}
    assert len(positions) == min(num_rows, wanted)
    assert positions == sorted(set(positions))
    assert all(0 <= position < num_rows for position in positions)
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.lists(st.integers(-3, 3)))
def test_duplicates_are_all_but_the_first_of_equal_ones(hashes):
    expected = [i for i, value in enumerate(hashes) if value in hashes[:i]]

    assert find_duplicates(array("q", hashes)) == expected


@pytest.mark.parametrize(
    "prompts, told",
    [
        (1, "1 prompt is answered in different ways (2 of 2 rows); lines 1 and 2; all are trained"),
        (
            4,
            "4 prompts are answered in different ways (8 of 8 rows); lines 1 and 2, 3 and 4, 5 and 6, …; all",
        ),
    ],
)
def test_prompts_that_are_answered_in_different_ways_are_named_and_block_nothing(prompts, told):
    rows = []
    for prompt in range(prompts):
        for answer in "yn":
            turns = (Message("user", f"{prompt}?"), Message("assistant", answer))
            rows.append(InspectedRow(len(rows) + 1, Conversation(turns), (example(),), 4))

    [finding] = [found for found in report_on(*rows).findings if found.rule == "different_answers"]

    assert finding.message.startswith(told)
    assert (finding.level, finding.rows, finding.lines[:3]) == (
        "warning",
        2 * prompts,
        (1, 2, 3)[: 2 * prompts],
    )
