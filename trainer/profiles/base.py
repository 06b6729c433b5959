"""What a data profile is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainer.data.conversation import Conversation


class UnknownProfile(ValueError):
    """`profile.name` is none of the registered ones."""


class BadProfileOption(ValueError):
    """`profile.options` holds something the profile cannot honour."""


@dataclass(frozen=True)
class Generation:
    """How text is generated for previews and evaluation.

    Args:
        system_prompt: put before prompts that have none.
        stop_strings: generation ends with any of them.
        logits_processors: made anew for each generated text, given the tokenizer; each is called with token
            ids (1, T) and scores (1, V), and returns scores (1, V). Typed loosely, because profiles are
            loaded where there is no torch.
    """

    system_prompt: str | None = None
    stop_strings: tuple[str, ...] = ()
    logits_processors: Sequence[Any] = ()


class DataProfile:
    """Turns rows into what the model should learn. By itself it changes nothing; profiles inherit from it.

    Pure: the same conversation gives the same result, always, and nothing outside is touched, no global
    source of randomness either.

    Args:
        options: `profile.options`.
    Raises:
        BadProfileOption: there is one that the profile does not know, or cannot honour.
    """

    name: str

    special_tokens: tuple[str, ...] = ()
    """Texts that are to be one token each, where the vocabulary may grow."""

    def __init__(self, options: dict[str, Any]) -> None:
        if options:
            raise BadProfileOption(
                f"profile.options has {', '.join(options)}; the profile {self.name} takes none; remove them"
            )

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        """Return what is trained instead of `conversation`.

        Args:
            line_number: of the row in its file; the only source of variation besides the conversation itself.
        """
        return conversation

    def generation(self) -> Generation:
        """Return how texts are generated that show what was learned."""
        return Generation()

    def measure(self, generated: str, *, expected: str | None) -> dict[str, float]:
        """Return metrics of one generated text by name; over several texts they are averaged."""
        return {}


class ProfileFactory(Protocol):
    """Makes a profile from `profile.options`."""

    def __call__(self, options: dict[str, Any]) -> DataProfile: ...
