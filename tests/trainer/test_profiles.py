"""Finding a profile, and what the plain one does."""

import pytest

from trainer.config.schema import ProfileSettings
from trainer.data.conversation import Conversation, Message
from trainer.profiles.base import BadProfileOption, UnknownProfile
from trainer.profiles.registry import PROFILES, make_profile


def test_the_plain_profile_changes_nothing_on_any_line():
    conversation = Conversation((Message("user", " q\n"), Message("assistant", "a 🎉")))
    profile = make_profile("plain", {})

    assert [profile.transform(conversation, line_number=line) for line in (1, 10**9)] == [conversation] * 2


def test_the_default_profile_exists():
    assert make_profile(ProfileSettings().name, ProfileSettings().options).name == "plain"


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_bears_the_name_it_is_found_by(name):
    assert make_profile(name, {}).name == name


@pytest.mark.parametrize("name", ["Plain", "", "emoji"])
def test_an_unknown_profile_is_told_with_the_known_ones(name):
    with pytest.raises(UnknownProfile, match=f'profile.name is "{name}"; expected one of plain'):
        make_profile(name, {})


def test_options_that_the_plain_profile_cannot_honour_are_named():
    with pytest.raises(BadProfileOption, match="has temperature, seed; the profile plain takes none"):
        make_profile("plain", {"temperature": 1, "seed": None})
