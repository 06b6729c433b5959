"""How far a tracker has come in the ledger, and the run that it is in."""

import secrets
from dataclasses import dataclass, field

from daemon.tracking.rows import Run


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How far it has come in a table of evaluations, which come one by one at a step."""

    step: int = 0
    keys: tuple[str, ...] = ()
    """Those of this step that it has. It has none of later steps, and all of earlier ones."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Everything before it has been read."""

    lineage: str = field(default_factory=lambda: secrets.token_hex(4))
    """Of the model's life."""
    ledger: str | None = None
    """The identity of the ledger."""
    event: int = 0
    """The last event read."""
    branch: int = 0
    from_branch: int = 0
    first_branch: int = 0
    """The first one of this life."""
    from_step: int = 0
    step: int = 0
    """The last global step read, of this branch."""
    tokens: int = 0
    """All tokens up to it."""
    number: int = 0
    """Rows of the run so far."""
    has_checkpoint: bool = False
    """Whether a checkpoint of this life was reported."""
    settings: str = ""
    """The newest settings sent, as JSON."""
    validations: Seen = Seen()
    suite_scores: Seen = Seen()
    previews: Seen = Seen()

    def run(self, name: str) -> Run:
        """Return the run that the rows after it belong to.

        Args:
            name: what the names of all runs begin with.
        """
        is_first = self.branch == self.first_branch
        id = self._id(self.branch)
        return Run(
            id=id,
            name=f"{name}-{id}",
            lineage=self.lineage,
            branch=self.branch,
            from_step=self.from_step,
            from_run=None if is_first else self._id(self.from_branch),
        )

    def _id(self, branch: int) -> str:
        return self.lineage if branch == self.first_branch else f"{self.lineage}-b{branch}"
