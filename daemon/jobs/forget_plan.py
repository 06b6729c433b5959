"""What forgetting a file means, as a person is told before it is done."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ForgetPlan:
    """What forgetting a file means."""

    sha256: str
    names: tuple[str, ...]
    """Of the file; printable."""
    job_ids: tuple[str, ...]
    first_step: int | None
    """The first step of the model's life that it had any part in; None if it had none."""
    base: str | None
    """What is trained on: a checkpoint or version, relative to `models/`; None for the base model."""
    base_step: int
    current_step: int
    steps: int
    """About how many are trained again."""
    seconds: float | None
    """About how long that takes; None if the ledger does not know."""
    files: int
    """How many files are trained again, or a part of each."""
    new_plans: tuple[str, ...]
    """Names of files that had replayed rows of it, and replay others now; printable."""
    missing: tuple[str, ...]
    """Why it cannot be done."""
    inexact: tuple[str, ...]
    """Why the result may differ from a run that never saw the file, in the last bits."""
    checkpoints: tuple[str, ...]
    """Names of those that are erased."""
    versions: tuple[str, ...]
    """Ids of those that are erased."""
    bases: tuple[str, ...]
    """Names of the merged base models in `models/bases/` that are erased."""
    unjudged: tuple[str, ...] = ()
    """Names of files that wait for the gate's verdict, and get none; printable."""
    backup_to: str | None = None
    """Where the backups are that are searched, without a password; None if there are none."""
    removed_backups: tuple[str, ...] = ()
    """Ids of those that are removed, because their weights have seen it."""
    cleaned_backups: tuple[str, ...] = ()
    """Ids of those that the file is taken out of."""
    backups_problem: str | None = None
    """Why the backups cannot be read; if that lasts, they keep what they have."""
    aliases: tuple[str, ...] = ()
    """Of versions that are erased, so that they mean nothing afterwards."""
    others: tuple[str, ...] = ()
    """Lists of rejected rows of other contents that had its name, relative to the working directory. They
    stay."""
    is_forgotten: bool = False
    """Whether it was forgotten before. What may be left of it is erased."""
    is_in_training: bool = False
    """Whether a worker has taken steps with it that the newest checkpoint does not have. It saves them before
    anything is forgotten, so more is trained again and erased than this says."""
    unsaved_steps: int = 0
    """How many steps a worker has taken that the newest checkpoint does not have, of whatever file: about as
    many more are trained again."""
