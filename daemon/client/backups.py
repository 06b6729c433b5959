"""Backups of the model: make, list, verify and restore them, and remove what nobody needs any more."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from daemon.backups.ordering import back_up_before, creation, keep_of
from daemon.client.errors import ClientError
from daemon.supervision.launcher import worker_environment
from trainer.config.backup_settings import BackupSettings, Occasion
from trainer.protocol import one_shot
from trainer.protocol.backups import (
    DRILL_MODULE,
    LATEST,
    MODULE,
    BackupList,
    BackupMade,
    BackupOrder,
    DrillOrder,
    DrillResult,
    ForgetTask,
    ForgottenInBackups,
    ListTask,
    PrunedBackups,
    PruneTask,
    RestoredBackup,
    RestoreTask,
    Task,
    VerifiedBackups,
    VerifyTask,
)
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import NoAnswer, OneShotOrder, OrderRefused
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.models import Models
    from daemon.client.settings import ClientSettings

Answer = TypeVar("Answer", bound=BaseModel)


class NoDestination(ClientError):
    """Nobody has said where backups go."""


class BackupRefused(ClientError):
    """It cannot be done; the message says why."""


class Backups:
    """The backups of one working directory.

    Args:
        any_layout: need not be a working directory to look at backups and to restore one.
        layout: returns it if it is one, and raises otherwise.
        models: returns the versions of its model.
        to: where they are; None takes `backup.to`.
        on_progress: called with each line that says how far it is.
    """

    def __init__(
        self,
        any_layout: Layout,
        layout: Callable[[], Layout],
        settings: "ClientSettings",
        models: Callable[[], "Models"],
        *,
        to: str | None,
        on_progress: Callable[[str], object],
    ) -> None:
        self._any_layout = any_layout
        self._layout = layout
        self._client_settings = settings
        self._models = models
        self._to = to
        self._on_progress = on_progress

    def create(self, *, versions: Iterable[str] = (), why: str = "asked for") -> BackupMade:
        """Make a backup of the newest checkpoint, and of versions with their weights.

        Args:
            versions: names of these versions; the others are in it as records.
        Raises:
            NoDestination, BackupRefused: it cannot be made.
            NoSuchVersion: one of the versions is not there.
        """
        layout, settings = self._layout(), self._settings()
        destination = self._destination(settings)
        names, saw = self._whole(versions)
        order = creation(layout, settings, destination, why=why, versions=names, saw=saw)
        return self._ask(MODULE, order, BackupMade)

    def before(self, what: Occasion, *, versions: Iterable[str] = ()) -> BackupMade | None:
        """Make a backup before something is removed or replaced; None where the settings want none.

        Args:
            versions: names of those that must be in it whole.
        Raises:
            BackupRefused: it cannot be made, so what was to be done must not be done.
        """
        settings = self._settings()
        if settings.to is None or what not in settings.before:
            return None
        names, saw = self._whole(versions)
        try:
            return back_up_before(
                what, self._layout(), settings, versions=names, saw=saw, on_progress=self._hear
            )
        except (OrderRefused, NoAnswer) as error:
            raise BackupRefused(
                f"no backup could be made before this: {printable(str(error))}; mend that, or take "
                f'"{what}" out of backup.before'
            ) from error

    def list(self) -> BackupList:
        """Return the backups that are there, oldest first."""
        return self._task(ListTask(), BackupList)

    def verify(self, backup: str | None = None) -> VerifiedBackups:
        """Hash everything again.

        Args:
            backup: its id, or `latest`; None for all.
        """
        return self._task(VerifyTask(backup=backup), VerifiedBackups)

    def restore(
        self, backup: str, into: Path | None, *, force: bool = False, dry_run: bool = False
    ) -> RestoredBackup:
        """Make a working directory of a backup.

        Args:
            backup: its id, or `latest`.
            into: None takes a new folder beside the working directory.
            force: move a working directory that is there aside.
            dry_run: only say what would be done.
        """
        base = self._any_layout.base
        folder = into.expanduser().absolute() if into else base.with_name(f"{base.name or 'work'}-restored")
        task = RestoreTask(backup=backup, into=folder, force=force, dry_run=dry_run)
        return self._task(task, RestoredBackup)

    def drill(self, backup: str = LATEST) -> DrillResult:
        """Restore a backup into a scratch folder, load its model, and compare its logits."""
        to = self._destination(self._settings())
        order = DrillOrder(base_dir=self._any_layout.base, to=to, backup=backup)
        return self._ask(DRILL_MODULE, order, DrillResult)

    def prune(self, *, dry_run: bool = False) -> PrunedBackups:
        """Remove the backups of this working directory that `backup.keep_…` does not keep."""
        self._layout()
        return self._task(PruneTask(keep=keep_of(self._settings()), dry_run=dry_run), PrunedBackups)

    def forget(self, sha256: Iterable[str], *, dry_run: bool = False) -> ForgottenInBackups | None:
        """Remove the backups whose weights saw files, and the files from all others.

        Returns:
            None where no destination is set.
        """
        self._layout()
        if (self._to or self._settings().to) is None:
            return None
        return self._task(ForgetTask(sha256=tuple(sha256), dry_run=dry_run), ForgottenInBackups)

    # ---- inside

    def _whole(self, versions: Iterable[str]) -> tuple[tuple[str, ...], frozenset[str]]:
        """Return the ids of versions, and the SHA-256 of all files that they were trained on."""
        found = [self._models().find(name) for name in versions]
        saw = frozenset(file.sha256 for item in found for file in self._models().lineage(item))
        return tuple(item.id for item in found), saw

    def _settings(self) -> BackupSettings:
        return self._client_settings.effective().settings.backup

    def _destination(self, settings: BackupSettings) -> str:
        destination = self._to or settings.to
        if destination is None:
            raise NoDestination(
                "backup.to is null, so there is no place for backups; set it in config.json, or give one "
                "with --to, such as --to /mnt/backup or --to sftp://user@host/folder"
            )
        return destination

    def _task(self, task: Task, answer_type: type[Answer]) -> Answer:
        to = self._destination(self._settings())
        return self._ask(MODULE, BackupOrder(base_dir=self._any_layout.base, to=to, task=task), answer_type)

    def _ask(self, module: str, order: OneShotOrder, answer_type: type[Answer]) -> Answer:
        try:
            return one_shot.ask(
                module, order, answer_type, environment=worker_environment(), on_progress=self._hear
            )
        except OrderRefused as error:
            raise BackupRefused(printable(str(error))) from error
        except NoAnswer as error:
            raise BackupRefused(f"the process that works on backups {error}; try again") from error

    def _hear(self, words: str) -> None:
        self._on_progress(printable(words))
