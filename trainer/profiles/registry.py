"""Find a profile by its name: a built-in one, one of an installed package, or one in a file."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from trainer.profiles.base import DataProfile, ProfileFactory, UnknownProfile
from trainer.profiles.emoji_think import EmojiThinkProfile
from trainer.profiles.external import (
    FoundProfile,
    find_in_file,
    find_installed,
    hidden_by,
    is_file,
    names_installed,
)
from trainer.profiles.guard import GuardedProfile
from trainer.profiles.mix import MixProfile
from trainer.profiles.plain import PlainProfile
from trainer.profiles.regime3 import Regime3Profile

PROFILES: dict[str, ProfileFactory] = {
    profile.name: profile for profile in (PlainProfile, EmojiThinkProfile, Regime3Profile)
}


def make_profile(name: str, options: dict[str, Any], *, base_dir: Path) -> DataProfile:
    """Return the profile `name`, set up with `options`.

    A file is read each time, so that a changed one is another profile.

    Args:
        name: one of ours, of an entry point, or `path/to/profile.py:ClassName`. Ours win.
        base_dir: where a relative path starts.
    Raises:
        UnknownProfile: there is none of that name.
        BadProfileOption: it cannot honour an option.
        BrokenProfile: it comes from elsewhere and cannot be loaded or made.
    """
    if name == MixProfile.name:
        return MixProfile(options, make=partial(make_profile, base_dir=base_dir))
    if name in PROFILES:
        return PROFILES[name](options)
    found = find_in_file(name, base_dir) if is_file(name) else find_installed(name)
    if found is None:
        known = ", ".join([*PROFILES, MixProfile.name, *names_installed()])
        raise UnknownProfile(
            f'profile.name is "{name}"; expected one of {known}, or a class in a file, as in '
            '"path/to/profile.py:ClassName"'
        )
    return _guarded(name, found, options)


def hidden_profiles() -> list[str]:
    """Return a sentence for each profile of an installed package that one of ours hides."""
    return hidden_by([*PROFILES, MixProfile.name])


def _guarded(name: str, found: FoundProfile, options: dict[str, Any]) -> DataProfile:
    # A copy each time, because a profile may take options out of what it is given
    return GuardedProfile(name, found.code, lambda: found.make(deepcopy(options)))
