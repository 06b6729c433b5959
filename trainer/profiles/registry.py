"""Find a profile by its name."""

from typing import Any

from trainer.profiles.base import DataProfile, ProfileFactory, UnknownProfile
from trainer.profiles.plain import PlainProfile

PROFILES: dict[str, ProfileFactory] = {PlainProfile.name: PlainProfile}


def make_profile(name: str, options: dict[str, Any]) -> DataProfile:
    """Return the profile `name`, set up with `options`.

    Raises:
        UnknownProfile: there is none of that name.
        BadProfileOption: it cannot honour an option.
    """
    if name not in PROFILES:
        raise UnknownProfile(f'profile.name is "{name}"; expected one of {", ".join(PROFILES)}')
    return PROFILES[name](options)
