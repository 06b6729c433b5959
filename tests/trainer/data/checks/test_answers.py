"""Degenerate answers are told from ordinary ones, of which data in any language may consist."""

import pytest

from trainer.data.checks.answers import (
    ANSWER_RULES,
    Answer,
    answers_of,
    has_control_characters,
    has_mojibake,
    has_thoughts,
    is_echo,
    is_empty,
    is_repetitive,
)
from trainer.data.conversation import Conversation, Message

PROSE = (
    "The tide comes in twice a day, and when it does the boats that lay on their sides in the mud all the "
    "morning stand up one after another, as if somebody had called them. The people of the town know the "
    "hours by heart. They set their clocks by it, and their meals, and whatever else may have to wait."
)
CHINESE = (
    "潮水每天涨两次, 涨潮的时候, 整个上午侧躺在泥里的船一艘接一艘地立起来, 好像有人在叫它们. "
    "镇上的人把时刻记在心里. 他们按潮水对钟, 按潮水吃饭, 别的事情也都得等一等."
)
CHORUS = "Row, row, row your boat\nGently down the stream\nMerrily, merrily, merrily\nLife is a dream\n" * 2
CODE = "\n".join(f"    if name == '{name}':\n        return {ord(name)} + offset" for name in "abcdef")
GRID = "\n".join(["0 0 0 0 0 3 0 0 0 0"] * 10)
TABLE = "\n".join(f"| {n} | {n * n} | ----- |" for n in range(20))
SHORT = ["yes", "b a", "", "=" * 80, "ACGT" * 2, '{"a": 1}']
ORDINARY = [PROSE, PROSE * 2, CHINESE, CHORUS, CODE, GRID, TABLE, *SHORT]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_answers_are_fine(text):
    broken = [rule.name for rule in ANSWER_RULES if rule.is_broken_by(Answer(text, "What about the tide?"))]

    assert broken == (["empty_answers"] if not text else [])


@pytest.mark.parametrize(
    "text",
    [
        "I am sorry. " * 30,
        "the " * 20,
        "a" * 60,
        "哈" * 60,
        "ha" * 40,
        "Let me see. " + "The answer is 5 and so on and " * 20,
        PROSE + " and again" * 100,
    ],
)
def test_an_answer_that_goes_round_in_circles_is_repetitive(text):
    assert is_repetitive(Answer(text, ""))


@pytest.mark.parametrize("words, expected", [(19, False), (20, True)])
def test_short_answers_may_repeat_themselves(words, expected):
    assert is_repetitive(Answer("no " * words, "")) == expected


@pytest.mark.parametrize("loops, expected", [(59, False), (60, True)])
def test_an_answer_is_repetitive_when_most_of_it_is(loops, expected):
    different = [f"word{n}" for n in range(100 - loops - 1)]

    assert is_repetitive(Answer(" ".join([*different, *["no"] * (loops + 1)]), "")) == expected


def test_a_huge_answer_without_spaces_is_told_in_no_time():
    assert not is_repetitive(Answer("".join(chr(97 + n * n % 26) + str(n) for n in range(300_000)), ""))


@pytest.mark.parametrize("text", ["é", "\u2019", "ü ß", "😀", "\u00a0"])
def test_text_that_was_decoded_wrongly_is_mojibake(text):
    wrong = text.encode().decode("cp1252", "replace")

    assert has_mojibake(Answer(f"a {wrong} b", ""))
    assert not has_mojibake(Answer(f"a {text} b", ""))


@pytest.mark.parametrize("text", ["NÃO", "Â, Ê and Î", "château", "naïve", "ðə", "Ã"])
def test_letters_that_often_stand_in_mojibake_are_fine_alone(text):
    assert not has_mojibake(Answer(text, ""))


@pytest.mark.parametrize(
    "text, expected",
    [("\x1b[31mred", True), ("a\x00", True), ("\x9bm", True), ("a\tb\r\nc\n", False), ("a\u200bb", False)],
)
def test_control_characters_are_those_no_text_needs(text, expected):
    assert has_control_characters(Answer(text, "")) == expected


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("What is  the capital\nof france? Paris.", True),
        ("What is the capital of France?", True),
        ("The capital of France? Paris.", False),
        ("What", False),
    ],
)
def test_an_answer_that_begins_with_the_whole_prompt_is_an_echo(answer, expected):
    assert is_echo(Answer(answer, "What is the capital of France?")) == expected


def test_short_prompts_may_be_repeated():
    assert not is_echo(Answer("Good morning!", "Good morning!"))


@pytest.mark.parametrize("text, expected", [("", True), (" \n\t", True), (".", False)])
def test_an_answer_of_white_space_is_empty(text, expected):
    assert is_empty(Answer(text, "")) == expected


def test_the_answers_are_the_turns_that_are_learned_each_with_its_prompt():
    conversation = Conversation(
        (
            Message("assistant", "hello"),
            Message("user", "a?"),
            Message("assistant", "", tool_calls=({"type": "function"},)),
            Message("tool", "5"),
            Message("assistant", "five"),
            Message("user", "b?"),
            Message("assistant", "not this", is_trained=False),
            Message("user", "c?"),
            Message("assistant", "six"),
        )
    )

    assert answers_of(conversation) == [Answer("hello", ""), Answer("five", ""), Answer("six", "c?")]


def test_a_plain_text_is_an_answer_to_nothing():
    assert answers_of(Conversation((Message("user", "text"),), is_plain_text=True)) == [Answer("text", "")]


# ---- thoughts


@pytest.mark.parametrize(
    "message, thinks",
    [
        (Message("assistant", "<think>hm</think>4"), True),
        (Message("assistant", "4", extra={"reasoning_content": "hm"}), True),
        (Message("assistant", "4", extra={"reasoning_content": ""}), False),
        (Message("assistant", "4"), False),
        (Message("user", "What is <think>?"), False),
        (Message("assistant", "<think>hm</think>4", is_trained=False), False),
    ],
)
def test_thoughts_count_where_they_are_trained(message, thinks):
    assert has_thoughts(Conversation((message,))) == thinks
