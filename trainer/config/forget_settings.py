"""The settings of forgetting a file: what has to be kept so that it is possible."""

from typing import Annotated

from pydantic import Field

from trainer.config.section import Section


class ForgetSettings(Section):
    """What is kept so that a file can be forgotten: see `docs/models/forget.md`.

    A change takes effect with the next file.
    """

    kept_files_bytes: Annotated[int, Field(ge=0)] = 20_000_000_000
    """Maximum total size of the files in `models/data/`, which has a hard link to each accepted file. Beyond
    it, the files trained longest ago go first; a file can be forgotten only as long as all files that were
    trained after it are there or in the queue. 0 keeps none."""
