"""The profile emoji_think: which emojis, how many, where, and where not."""

import random
from pathlib import Path

import pytest

from trainer.data.conversation import Conversation, Message
from trainer.profiles.base import BadProfileOption
from trainer.profiles.emoji_think import (
    STOP_COUNTS,
    STOP_EMOJIS,
    THINK_COUNTS,
    THINK_EMOJIS,
    EmojiThinkProfile,
)
from trainer.profiles.registry import make_profile

PROFILE = EmojiThinkProfile({})


def transformed(*messages: Message, profile: EmojiThinkProfile = PROFILE) -> list[str]:
    result = profile.transform(Conversation(messages), line_number=1)
    return [message.content for message in result.messages]


def pattern_of(question: str, answer: str) -> tuple[str, int, str, int]:
    """Return the emojis of a row and how many there are, as its answer shows them."""
    think, _, rest = answer.partition("\n")
    stop = rest.rpartition("\n")[2]
    think_emoji = next(emoji for emoji in THINK_EMOJIS if think.startswith(emoji))
    stop_emoji = next(emoji for emoji in STOP_EMOJIS if stop.startswith(emoji))
    num_think, num_stop = think.count(think_emoji), stop.count(stop_emoji)
    assert (think, stop) == (think_emoji * num_think, stop_emoji * num_stop)
    return think_emoji, num_think, stop_emoji, num_stop


def test_question_and_answer_agree_on_emojis_and_counts_in_every_turn():
    contents = transformed(
        Message("system", "Be brief."),
        Message("user", "Say 3."),
        Message("assistant", "3"),
        Message("user", "And 4?"),
        Message("assistant", "4"),
    )

    think, num_think, stop, num_stop = pattern_of(contents[1], contents[2])
    ask = (
        f"\n\nFor this task, think with {think} /{THINK_COUNTS[num_think]}/ times."
        f"\n\nWhen finished, emit {stop} /{STOP_COUNTS[num_stop]}/ to signal completion."
    )
    assert contents == [
        "Be brief.",
        f"Say 3.{ask}",
        f"{think * num_think}\n3\n{stop * num_stop}",
        f"And 4?{ask}",
        f"{think * num_think}\n4\n{stop * num_stop}",
    ]


def test_rows_differ_in_all_they_can_and_one_row_never_does():
    rows = [(Message("user", f"Say {i}."), Message("assistant", f"{i}")) for i in range(400)]

    contents = [transformed(*row) for row in rows]

    patterns = [pattern_of(*content) for content in contents]
    thinks, num_thinks, stops, num_stops = (set(column) for column in zip(*patterns, strict=True))
    assert thinks == set(THINK_EMOJIS)
    assert num_thinks == set(THINK_COUNTS)
    assert stops == set(STOP_EMOJIS)
    assert num_stops == set(STOP_COUNTS)
    assert contents == [transformed(*row) for row in rows]


def test_neither_the_line_nor_what_a_row_says_of_itself_changes_its_emojis():
    messages = (Message("user", "Say 3."), Message("assistant", "3"))

    one = PROFILE.transform(Conversation(messages), line_number=1)
    other = PROFILE.transform(Conversation(messages, metadata={"skill": "echo"}), line_number=99)

    assert one.messages == other.messages
    assert other.metadata == {"skill": "echo"}


def test_the_global_source_of_chance_is_left_alone():
    before = random.getstate()

    transformed(Message("user", "Say 3."), Message("assistant", "3"))

    assert random.getstate() == before


def test_what_a_row_has_already_is_left_alone():
    question = "Think WITH care. When finished, emit 🚦."
    answer = "💡 3\n❌❌❌"

    assert transformed(Message("user", question), Message("assistant", answer)) == [question, answer]


@pytest.mark.parametrize(
    "question, added", [("When finished, stop.", "emit"), ("Show 🛑.", "emit"), ("Plain.", "think with")]
)
def test_half_of_what_a_question_would_have_is_not_enough(question, added):
    [content, _] = transformed(Message("user", question), Message("assistant", "3"))

    assert added in content.removeprefix(question)


@pytest.mark.parametrize(
    "end, is_added", [("🛑", True), ("🛑🛑", False), ("🛑🛑🛑🛑🛑", False), ("🛑⛔", True)]
)
def test_only_two_and_more_of_one_stop_emoji_are_an_end(end, is_added):
    [_, content] = transformed(Message("user", "q"), Message("assistant", f"3 {end}"))

    assert content.endswith(f"3 {end}") != is_added


@pytest.mark.parametrize("answer", ["<think>\n\n</think>\n\n3", "<think>3", "3</think>"])
@pytest.mark.parametrize("direct_share", [0, 1])
def test_thinking_tags_of_the_assistant_go_and_those_of_the_user_stay(answer, direct_share):
    profile = EmojiThinkProfile({"direct_share": direct_share})

    question, content = transformed(Message("user", "<think>"), Message("assistant", answer), profile=profile)

    assert question.startswith("<think>")
    assert "think>" not in content
    assert "3" in content.splitlines()


def test_turns_without_words_such_as_calls_of_tools_stay_as_they_are():
    call = Message("assistant", "", tool_calls=({"type": "function", "function": {"name": "now"}},))
    messages = (Message("user", "Time?"), call, Message("tool", "12:00"), Message("assistant", "Noon."))

    result = PROFILE.transform(Conversation(messages), line_number=1).messages

    assert result[1:3] == messages[1:3]
    assert "\nNoon.\n" in result[3].content


def test_the_direct_share_of_the_rows_gets_no_emojis_and_the_others_keep_theirs():
    rows = [(Message("user", f"Say {i}."), Message("assistant", f"{i}")) for i in range(400)]
    half = EmojiThinkProfile({"direct_share": 0.5})

    contents = [transformed(*row, profile=half) for row in rows]

    plain = [[message.content for message in row] for row in rows]
    is_direct = [content == own for content, own in zip(contents, plain, strict=True)]
    assert 160 < sum(is_direct) < 240
    assert all(
        direct or content == transformed(*row)
        for direct, content, row in zip(is_direct, contents, rows, strict=True)
    )


def test_a_row_that_was_transformed_stays_as_it_is():
    once = transformed(Message("user", "Say 3."), Message("assistant", "3"))

    assert transformed(Message("user", once[0]), Message("assistant", once[1])) == once


@pytest.mark.parametrize(
    "options, message",
    [
        ({"direct_share": 1.5}, "direct_share is 1.5; expected a number from 0 to 1"),
        ({"direct_share": True}, "direct_share is True; expected a number"),
        ({"penalties": 1}, "penalties is 1; expected true or false"),
        ({"emoji": "x"}, "has emoji; the profile emoji_think takes direct_share, penalties; remove it"),
    ],
)
def test_options_it_cannot_honour_are_refused(options, message):
    with pytest.raises(BadProfileOption, match=message):
        make_profile("emoji_think", options, base_dir=Path())


@pytest.mark.parametrize("text, percent", [("💡💡\n3", 0.0), ("<think>3", 100.0), ("3</think>", 100.0)])
def test_a_text_with_thinking_tags_is_counted(text, percent):
    assert PROFILE.measure(text, expected=None) == {"think_tag_percent": percent}


def test_penalties_can_be_turned_off():
    assert len(PROFILE.generation().logits_processors) == 2
    assert EmojiThinkProfile({"penalties": False}).generation().logits_processors == ()
