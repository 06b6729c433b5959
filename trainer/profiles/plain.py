"""The profile `plain`: conversations as they are."""

from typing import Any

from trainer.data.conversation import Conversation
from trainer.profiles.base import BadProfileOption


class PlainProfile:
    """Changes nothing."""

    name = "plain"

    def __init__(self, options: dict[str, Any]) -> None:
        if options:
            raise BadProfileOption(
                f"profile.options has {', '.join(options)}; the profile plain takes none, so remove them"
            )

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        return conversation
