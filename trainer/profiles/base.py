"""What a data profile is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainer.data.conversation import Conversation

Expected = str | int | float | None
"""The answer that a text should have given; None where there is none."""


class UnknownProfile(ValueError):
    """`profile.name` is none that can be found."""


class BadProfileOption(ValueError):
    """`profile.options` holds something the profile cannot honour."""


class BrokenProfile(ValueError):
    """A profile from elsewhere cannot be loaded, or does not do what a profile does."""


@dataclass(frozen=True)
class Generation:
    """How text is generated for previews and evaluation.

    Args:
        system_prompt: put before prompts that have none.
        stop_strings: generation ends with any of them.
        logits_processors: each makes, given the tokenizer, what is called with token ids (B, T), the prompts
            included, and scores (B, V), and returns scores (B, V). It keeps what was generated, so it is
            made anew for each batch. Typed loosely, because profiles are loaded where there is no torch.
    """

    system_prompt: str | None = None
    stop_strings: tuple[str, ...] = ()
    logits_processors: Sequence[Callable[[Any], Any]] = ()


class DataProfile:
    """Turns rows into what the model is trained on. By itself it changes nothing; profiles inherit from it.

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

    code: str = ""
    """Hash of the profile's code, where that is no part of this program. Set by whoever loads it."""

    def __init__(self, options: dict[str, Any]) -> None:
        refuse_unknown_options(options, known=(), name=self.name)

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        """Return what is trained instead of `conversation`.

        Args:
            line_number: of the row in its file; the only source of variation besides the conversation itself.
        """
        return conversation

    def faults(self, conversation: Conversation) -> tuple[str, ...]:
        """Say what is wrong with a conversation as this profile sees it; for reports. It is trained anyway.

        Pure, as `transform` is.

        Args:
            conversation: as it is in the file.
        """
        return ()

    def generation(self) -> Generation:
        """Return how texts are generated that show what the model can do."""
        return Generation()

    def measure(self, generated: str, *, expected: Expected) -> dict[str, float]:
        """Return metrics of one generated text by name; over several texts they are averaged."""
        return {}


def refuse_unknown_options(options: dict[str, Any], *, known: Sequence[str], name: str) -> None:
    """Make sure that a profile takes every option it is given.

    Raises:
        BadProfileOption: it does not; all of those are named.
    """
    if unknown := [option for option in options if option not in known]:
        takes = ", ".join(known) or "none"
        raise BadProfileOption(
            f"profile.options has {', '.join(unknown)}; the profile {name} takes {takes}; remove "
            f"{'them' if len(unknown) > 1 else 'it'}"
        )


class ProfileFactory(Protocol):
    """Makes a profile from `profile.options`."""

    def __call__(self, options: dict[str, Any]) -> DataProfile: ...
