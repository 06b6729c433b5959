"""Show an analysis in a terminal. Everything that comes from the file is made printable."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import astuple

from daemon.data_tools.analysis.findings import Analysis, Spread, Topic
from daemon.data_tools.express import Format
from daemon.data_tools.reading import LeftOut
from trainer.protocol.text import num_of, printable

BAR_WIDTH = 40
PLAIN_TEXT = "text"  # the one format that no other can say
SHARES_SHOWN = 6
WORDS_SHOWN = 15
EXAMPLE_CHARACTERS = 80
COLUMNS = ("LEAST", "5 %", "MEDIAN", "MEAN", "95 %", "99 %", "MOST")


def lines_of(name: str, analysis: Analysis, left_out: LeftOut) -> Iterator[str]:
    """Yield what is printed."""
    sampled, duplicates = analysis.sampled, analysis.duplicates
    formats = ", ".join(f"{format_name}: {rows:,}" for format_name, rows in analysis.formats.items())
    yield f"{name}: {num_of(analysis.rows, 'row')} ({formats}), and {left_out.count:,} that cannot be trained"
    yield from _format_lines(name, analysis.formats)
    yield from (f"  {printable(place)}" for place in left_out.first)
    removal = " (training_data dedupe removes them)" if duplicates.extra_rows else ""
    yield f"duplicates: {num_of(duplicates.extra_rows, 'row')}{removal}"
    yield from (f"  {count:,} times, first on line {line:,}" for count, line in duplicates.largest_groups)
    yield "messages: " + ", ".join(f"{count:,} {role}" for role, count in analysis.roles.items())
    yield f"\n{'LENGTHS':22}" + "".join(f"{column:>8}" for column in COLUMNS)
    yield from (f"{what:22}{_numbers(spread)}" for what, spread in analysis.lengths.items())
    yield "\nCHARACTERS OF ANSWERS"
    yield from _bars(analysis.answer_lengths)
    yield f"\nFROM {sampled.rows:,} ROWS, AT MOST {sampled.characters_per_row:,} CHARACTERS OF EACH"
    yield from _vocabulary_lines(analysis)
    yield f"scripts: {_shares(sampled.scripts)}"
    yield f"languages (guessed): {_shares(sampled.languages)}"
    if sampled.topics:
        yield "\nTOPICS"
        for topic in sampled.topics:
            yield from _topic_lines(topic)


def _format_lines(name: str, formats: Mapping[str, int]) -> Iterator[str]:
    """Say that training wants one format, and how to come to it, if there are several."""
    if len(formats) < 2:
        return
    yield "  a file of several formats is refused as a whole; to convert it to one:"
    yield f"  training_data convert {shlex.quote(name)} OUT.jsonl --to {Format.MESSAGES}"
    if PLAIN_TEXT in formats:
        yield "  which leaves plain texts out: they have no turns, and need a file of their own"


def _numbers(spread: Spread) -> str:
    return "".join(f" {value:>7,.0f}" for value in astuple(spread)[: len(COLUMNS)])


def _bars(counts: Mapping[str, int]) -> Iterator[str]:
    largest = max(counts.values(), default=0)
    for label, count in counts.items():
        yield f"{label:>20} {count:>10,} {'#' * round(BAR_WIDTH * count / largest)}".rstrip()


def _vocabulary_lines(analysis: Analysis) -> Iterator[str]:
    vocabulary = analysis.sampled.vocabulary
    yield f"words: {vocabulary.words:,}, {vocabulary.distinct:,} of them distinct"
    if vocabulary.type_token_ratio is not None:
        yield f"distinct words in 1,000: {1000 * vocabulary.type_token_ratio:,.0f}"
        frequent = (f"{printable(word)} {count:,}" for word, count in vocabulary.most_frequent[:WORDS_SHOWN])
        yield f"most frequent: {', '.join(frequent)}"


def _shares(shares: Mapping[str, float]) -> str:
    shown = [f"{printable(name)} {share:.1%}" for name, share in list(shares.items())[:SHARES_SHOWN]]
    return ", ".join(shown) or "none"


def _topic_lines(topic: Topic) -> Iterator[str]:
    yield f"{topic.share:>7.1%} of rows: {printable(', '.join(topic.words))}"
    yield f"{'':17}line {topic.example_line:,}: {printable(topic.example, limit=EXAMPLE_CHARACTERS)}"
