"""What `python -m trainer.show` says of one row: its tokens, and which of them are learned."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pydantic import BaseModel, ConfigDict

from trainer.protocol.text import printable


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class ShownToken(_Lenient):
    """One token."""

    text: str
    trained: bool
    """Whether the loss looks at it."""


class ShownExample(_Lenient):
    """What the model sees at once."""

    tokens: tuple[ShownToken, ...]

    @property
    def num_trained(self) -> int:
        return sum(token.trained for token in self.tokens)


class ShownRow(_Lenient):
    """A row becomes no example, one, or several."""

    examples: tuple[ShownExample, ...]


def runs(tokens: Sequence[ShownToken]) -> Iterator[tuple[bool, str]]:
    """Yield stretches of tokens that are all learned or all not, as text that is safe for a terminal."""
    for trained, together in groupby(tokens, key=lambda token: token.trained):
        yield trained, "".join(visible(token.text) for token in together)


def visible(text: str) -> str:
    """Return a token's text with everything written out that a terminal would obey; lines still end."""
    return "\n".join(printable(part) for part in text.split("\n")).replace("\n", "\\n\n")
