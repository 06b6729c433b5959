"""What a data profile is."""

from typing import Any, Protocol

from trainer.data.conversation import Conversation


class UnknownProfile(ValueError):
    """`profile.name` is none of the registered ones."""


class BadProfileOption(ValueError):
    """`profile.options` holds something the profile cannot honour."""


class DataProfile(Protocol):
    """Turns rows into what the model should learn.

    Pure: the same conversation gives the same result, always.
    """

    name: str

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        """Return what is trained instead of `conversation`.

        Args:
            line_number: of the row in its file; the only source of variation besides the conversation itself.
        """
        ...


class ProfileFactory(Protocol):
    """Makes a profile from `profile.options`."""

    def __call__(self, options: dict[str, Any]) -> DataProfile: ...
