"""The profile regime3: markers around the answer, expressions in one form, and answers compared."""

from pathlib import Path

import pytest

from trainer.data.conversation import Conversation, Message
from trainer.profiles.base import BadProfileOption
from trainer.profiles.regime3 import END, START, Regime3Profile
from trainer.profiles.registry import make_profile

WHOLE, LAST_LINE = Regime3Profile({}), Regime3Profile({"answer": "last_line"})


def asked(answer: str) -> Conversation:
    return Conversation((Message("user", "(add 2 3)?"), Message("assistant", answer)))


def marked(answer: str, profile: Regime3Profile = WHOLE) -> str:
    result = profile.transform(asked(answer), line_number=1)
    assert result.messages[0] == asked(answer).messages[0]
    return result.messages[1].content


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("  5\n", f"{START} 5 {END}"),
        ("2 and 3\nmake 5", f"{START} 2 and 3\nmake 5 {END}"),
        (f"So {START} 5", f"So {START} 5 {END}"),
        (f"5 {END} I think", f"{START} 5 {END} I think"),
        (f"So {START}5{END}!", f"So {START}5{END}!"),
        ("( ADD 2 3.0 ) =5", f"{START} (add 2 3) = 5 {END}"),
        (f"So {START}(ADD 2\n3){END} .", f"So {START} (add 2 3) {END} ."),
        ("(add 2 3", f"{START} (add 2 3 {END}"),
        (f"{END} (ADD 2 3) {START}", f"{END} (ADD 2 3) {START}"),
        (f"{START} (A 1) {END} {START} (B 2) {END}", f"{START} (A 1) {END} {START} (B 2) {END}"),
    ],
)
def test_an_answer_gets_the_markers_it_lacks_and_its_one_form(answer, expected):
    assert marked(answer) == expected
    assert marked(expected) == expected


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("2 and 3\n\nmake\n 5 \n", f"2 and 3\n\nmake\n{START} 5 {END}"),
        ("5", f"{START} 5 {END}"),
        ("First:\n(ADD 2 3)", f"First:\n{START} (add 2 3) {END}"),
    ],
)
def test_the_last_line_alone_may_be_the_answer(answer, expected):
    assert marked(answer, LAST_LINE) == expected


def test_every_answer_in_words_is_marked_and_no_other_turn():
    call = Message("assistant", "Let me see.", tool_calls=({"type": "function", "function": {"name": "f"}},))
    silent = Message("assistant", " ")
    turns = (Message("system", "s"), Message("user", "q"), call, Message("tool", "5"), silent)

    result = WHOLE.transform(Conversation((*turns, Message("assistant", "5"))), line_number=1)

    assert result.messages == (*turns, Message("assistant", f"{START} 5 {END}"))


@pytest.mark.parametrize(
    "answer, fault",
    [
        ("5", None),
        ("(add 2 3)", None),
        ("(add 2 3", 'the answer begins as an expression, but found no end; expected ")"'),
        (f"So {START} (add 2, 3) {END}", "the answer begins as an expression, but found"),
        (f"{END} 5 {START}", f"{END} comes before {START}; expected it after"),
        (f"{START} 5 {END} {START} 6 {END}", "several answers are marked; expected one"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told_with_its_turn(answer, fault):
    found = WHOLE.faults(asked(answer))

    assert bool(found) == bool(fault)
    assert not fault or found[0].startswith(f"messages[1]: {fault}")


@pytest.mark.parametrize(
    "generated, expected, is_match",
    [
        (f"2 and 3 make {START} 5.0 {END}", "5", True),
        (f"{START} 5 {END}", 5, True),
        (f"{START} 5 {END}", 5.0, True),
        (f"{START} 1,000 {END}", 1000, True),
        (f"{START} 5 {END}", f"So: {START} 5 {END}", True),
        (f"{START} 5", "5", True),
        ("5", "5", True),
        (f"{START} 4 {END} no, {START} 5 {END}", "5", True),
        (f"{START} ( ADD 2 3 ) {END}", "(add 2 3)", True),
        (f"{START} (add 2 {END}", "(add  2", True),
        (f"{START} 15 {END}", "5", False),
        (f"{START} 5 {END}", 5.1, False),
        ("It is 5", "5", False),
        ("", "5", False),
        (f"5 {START} {END}", 5, False),
    ],
)
def test_answers_are_compared_in_their_one_form(generated, expected, is_match):
    assert WHOLE.measure(generated, expected=expected) == {"exact_match": float(is_match)}


def test_the_last_line_is_compared_where_it_is_the_answer():
    assert LAST_LINE.measure("2 and 3 make\n5", expected=5) == {"exact_match": 1.0}


def test_without_an_expected_answer_nothing_is_compared():
    assert WHOLE.measure(f"{START} 5 {END}", expected=None) == {}


def test_generation_ends_with_the_answer_and_the_markers_are_special():
    assert WHOLE.generation().stop_strings == (END,)
    assert WHOLE.special_tokens == (START, END)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"answer": "first"}, "answer is 'first'; expected one of whole, last_line"),
        ({"answer": ["whole"]}, r"answer is \['whole'\]; expected one of"),
        ({"form": 1}, "has form; the profile regime3 takes answer; remove it"),
    ],
)
def test_options_it_cannot_honour_are_refused(options, message):
    with pytest.raises(BadProfileOption, match=message):
        make_profile("regime3", options, base_dir=Path())
