"""Finding a profile, and what the plain one and the mix of several do."""

from pathlib import Path

import pytest

from trainer.config.schema import ProfileSettings
from trainer.data.conversation import Conversation, Message
from trainer.profiles.base import BadProfileOption, DataProfile, UnknownProfile
from trainer.profiles.registry import PROFILES, make_profile

HALVES = {"shares": {"plain": 0.5, "emoji_think": 0.5}}


def profile_of(name: str, options: dict[str, object] | None = None) -> DataProfile:
    return make_profile(name, options or {}, base_dir=Path())


def conversation_of(number: int) -> Conversation:
    return Conversation((Message("user", f"Say {number}."), Message("assistant", f"{number} it is.")))


def test_the_plain_profile_changes_nothing_on_any_line():
    conversation = Conversation((Message("user", " q\n"), Message("assistant", "a 🎉")))
    profile = profile_of("plain")

    assert [profile.transform(conversation, line_number=line) for line in (1, 10**9)] == [conversation] * 2


def test_the_default_profile_exists():
    assert profile_of(ProfileSettings().name, ProfileSettings().options).name == "plain"


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_bears_the_name_it_is_found_by(name):
    assert profile_of(name).name == name


@pytest.mark.parametrize("name", ["Plain", "", "emoji"])
def test_an_unknown_profile_is_told_with_the_known_ones(name):
    expected = (
        f'profile.name is "{name}"; expected one of plain, emoji_think, regime3, mix, or a class in a file'
    )

    with pytest.raises(UnknownProfile, match=expected):
        profile_of(name)


def test_options_that_the_plain_profile_cannot_honour_are_named():
    with pytest.raises(
        BadProfileOption, match="has temperature, seed; the profile plain takes none; remove them"
    ):
        profile_of("plain", {"temperature": 1, "seed": None})


@pytest.mark.parametrize("name", [*PROFILES, "mix"])
def test_a_text_of_its_own_is_no_conversation_and_stays_as_it_is(name):
    text = Conversation((Message("assistant", "Once <think> (upon) a time"),), is_plain_text=True)
    profile = profile_of(name, {"shares": {"emoji_think": 0.5, "regime3": 0.5}} if name == "mix" else {})

    assert profile.transform(text, line_number=1) == text


# ---- the mix


def test_a_mix_hands_each_row_to_one_profile_by_its_share():
    plain, emojis = profile_of("plain"), profile_of("emoji_think")
    mix = profile_of("mix", {"shares": {"plain": 0.25, "emoji_think": 0.75}})
    conversations = [conversation_of(number) for number in range(400)]

    mixed = [mix.transform(conversation, line_number=1) for conversation in conversations]

    as_plain = [
        result == plain.transform(conversation, line_number=1)
        for conversation, result in zip(conversations, mixed, strict=True)
    ]
    assert 70 < sum(as_plain) < 130
    assert all(
        is_plain or result == emojis.transform(conversation, line_number=1)
        for is_plain, conversation, result in zip(as_plain, conversations, mixed, strict=True)
    )


def test_who_takes_a_row_depends_on_its_words_alone():
    one, other = (
        profile_of("mix", {"shares": shares})
        for shares in ({"plain": 0.5, "regime3": 0.5}, {"regime3": 0.5, "plain": 0.5})
    )
    conversations = [conversation_of(number) for number in range(50)]

    results = [
        one.transform(conversation, line_number=line) for line, conversation in enumerate(conversations)
    ]

    again = [other.transform(conversation, line_number=1) for conversation in reversed(conversations)]
    assert results == again[::-1]
    assert len({result.messages[1].content.startswith("<<ANS_START>>") for result in results}) == 2


def test_a_mix_gives_options_on_and_gathers_what_its_profiles_bring():
    options = {
        "shares": {"regime3": 0.5, "emoji_think": 0.5},
        "options": {"emoji_think": {"direct_share": 1}},
    }

    mix = profile_of("mix", options)

    emojis, regime3 = profile_of("emoji_think"), profile_of("regime3")
    assert mix.special_tokens == regime3.special_tokens
    assert mix.generation().stop_strings == regime3.generation().stop_strings
    assert len(mix.generation().logits_processors) == len(emojis.generation().logits_processors)
    assert mix.measure("<<ANS_START>> 4 <<ANS_END>>", expected=4) == {
        "emoji_think.think_tag_percent": 0.0,
        "regime3.exact_match": 1.0,
    }
    assert not any(
        message.content.startswith(("🤔", "💭", "🧠"))
        for number in range(50)
        for message in mix.transform(conversation_of(number), line_number=1).messages
    )


def test_a_mix_tells_the_faults_that_the_rows_own_profile_sees():
    malformed = Conversation((Message("user", "2+3?"), Message("assistant", "(add 2 3")))

    found = {name: profile_of("mix", {"shares": {name: 1}}).faults(malformed) for name in PROFILES}

    assert not found["plain"]
    assert not found["emoji_think"]
    assert found["regime3"] == profile_of("regime3").faults(malformed) != ()


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, r"shares is None; expected names and shares that add up to 1"),
        ({"shares": {}}, r"shares is \{\}; expected names"),
        ({"shares": {"plain": 0.5, "regime3": 0.4}}, "shares add up to 0.9; expected .* add up to 1"),
        ({"shares": {"plain": 1.5}}, r"shares.plain is 1.5; expected a number above 0, and at most 1"),
        ({"shares": {"plain": True}}, "shares.plain is True; expected a number"),
        ({"shares": {"plain": 1, "regime3": 0}}, "shares.regime3 is 0; expected a number above 0"),
        ({"shares": {"mix": 1}}, "shares contains mix itself"),
        (HALVES | {"options": {"regime3": {}}}, "options has regime3; expected some of plain, emoji_think"),
        (HALVES | {"options": {"plain": 3}}, r"options is \{'plain': 3\}; expected the options of each"),
        (HALVES | {"options": {"plain": {"a": 1}}}, "has a; the profile plain takes none; remove it"),
        (HALVES | {"seed": 1}, "has seed; the profile mix takes shares, options; remove it"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(BadProfileOption, match=message):
        profile_of("mix", options)


def test_a_mix_of_a_profile_nobody_knows_is_refused():
    with pytest.raises(UnknownProfile, match=r'profile\.name is "rot13"'):
        profile_of("mix", {"shares": {"rot13": 1}})
