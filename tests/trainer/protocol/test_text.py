"""Untrusted text on one harmless line, and times as UTC."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.protocol.text import num_of, printable, shell_word, utc_text


@pytest.mark.parametrize("count, text", [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1_000, "1,000 rows")])
def test_a_count_has_its_noun_in_the_singular_only_for_one(count, text):
    assert num_of(count, "row") == text


@pytest.mark.parametrize(
    "text",
    [
        "chat.jsonl",
        "",
        "naïve résumé",
        "日本語",
        "🎉",
        "👩\N{ZERO WIDTH JOINER}💻",
        "back\\slash",
        "no\u00a0break",
    ],
)
def test_harmless_text_is_left_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\x00\x7f", r"\x00\x7f"),
        ("txt.\u202eexe", r"txt.\u202eexe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        (os.fsdecode(b"latin-\xe9"), r"latin-\xe9"),
        ("half \ud83d", r"half \ud83d"),
        ("é\n🎉", r"é\n🎉"),
    ],
)
def test_what_a_terminal_could_obey_becomes_an_escape(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text, word",
    [
        ("chat.jsonl", "chat.jsonl"),
        ("my chat.jsonl", "'my chat.jsonl'"),
        ("", "''"),
        ("it's\n", r"$'it\'s\x0a'"),
        ("back\\slash\x1b", r"$'back\\slash\x1b'"),
        (os.fsdecode(b"latin-\xe9"), r"$'latin-\xe9'"),
        ("é\u202e", r"$'é\xe2\x80\xae'"),
    ],
)
def test_a_word_of_a_command_is_printable_and_means_the_text(text, word):
    assert shell_word(text) == word
    assert printable(word) == word


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=20))
def test_any_text_becomes_one_line_of_utf8(text):
    shown = printable(text)

    assert len(shown.encode("utf-8").decode("utf-8").splitlines()) <= 1
    assert printable(shown) == shown


@pytest.mark.parametrize("length, shown", [(9, "x" * 9), (10, "x" * 10), (11, "x" * 9 + "…")])
def test_text_is_cut_only_beyond_the_limit(length, shown):
    assert printable("x" * length, limit=10) == shown


def test_what_is_cut_off_is_not_escaped_in_part():
    assert printable("abc\n\n\n", limit=5) == r"abc\n…"


@pytest.mark.parametrize(
    "unix_s, text",
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
        (951_782_400.0, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_time_is_utc_with_milliseconds(unix_s, text):
    assert utc_text(unix_s) == text
