"""The order to show a row as the model sees it, and its answer."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trainer.protocol.one_shot import OneShotOrder


class ShowOrder(OneShotOrder):
    """Show one row of a file as it would be trained."""

    file: str
    row: int
    """Number of its line, counted from 1."""
    settings: dict[str, Any]
    base: str
    """The working directory."""


class ShownToken(BaseModel):
    """One token of an example."""

    model_config = ConfigDict(frozen=True)

    id: int
    text: str
    """What it adds to the text; empty where it is a later part of a character. It may hold anything."""
    trained: bool
    """Whether it is supervised; the first token never is, because nothing predicts it."""
    turn: int | None
    """Which message of the row it belongs to, counted from 0; None where that is not known."""
    quoted: bool = False
    """Whether it is a part of a control token that somebody quotes, which is encoded as text."""


class ShownExample(BaseModel):
    """One of the examples that the row becomes."""

    model_config = ConfigDict(frozen=True)

    tokens: tuple[ShownToken, ...]
    supervised_tokens: int
    """Supervised tokens that something predicts; an example without any is not trained."""
    turns: tuple[int, ...]
    """The messages of the row that it was made of, counted from 0."""
    cut_tokens: int
    """Tokens of these messages that were cut off at the end."""
    is_truncated: bool


class Shown(BaseModel):
    """A row as it would be trained."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["shown"] = "shown"
    file: str
    row: int
    max_length: int
    overlong: str
    train_on: str
    row_tokens: int
    """Of the whole row, before anything was left out."""
    examples: tuple[ShownExample, ...]
    """Empty if the row is dropped."""
    missing_turns: tuple[int, ...]
    """Messages that are in no example."""
