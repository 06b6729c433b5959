"""The settings of versions that nobody makes by hand."""

from typing import Literal

from trainer.config.section import Section

Policy = Literal["never", "file", "day", "gate"]


class VersionSettings(Section):
    """Versions that are made without being asked for: see `docs/MODELS.md`.

    A change takes effect immediately.
    """

    auto: Policy = "never"
    """When a version is made. `file`: after each completed file, of the checkpoint that has it; files that
    share a checkpoint share a version. `day`: once for each day, by the machine's clock, in which something
    was trained, of that day's last checkpoint. `gate`: after each file that has passed the gate. `never`:
    only by hand. A version keeps the room of its checkpoint, with the optimizer's state, until it is deleted;
    so none is made unless you say so."""
