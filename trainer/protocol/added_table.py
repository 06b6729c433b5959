"""The order to convert a table that was uploaded and let it appear in the inbox, and its answer."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.protocol.one_shot import OneShotOrder
from trainer.protocol.places import Priority

MODULE = "daemon.mains.add_table"


class AddTableOrder(OneShotOrder):
    """Add a table as `training_queue add` does."""

    base: str
    """The working directory."""
    file: str
    priority: Priority


class AddedTable(BaseModel):
    """A table that lies in the inbox as JSON Lines now."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["added"] = "added"
    added_as: str
    """The copy's name; printable."""
    rows: int | None
    """None if it was taken as it is."""
