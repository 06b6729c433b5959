"""Have the model forget a file: say what that means, and have it done, with or without a daemon."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from daemon.client.advice import SOMEBODY_ACTS
from daemon.client.errors import ClientError, UnreadableHistory, raising
from daemon.client.finding import why_never_seen
from daemon.jobs.forget_orders import forgetting_of, order_to_forget, text_of
from daemon.jobs.forget_plan import ForgetPlan
from daemon.jobs.forgetting import CannotForget, UnknownContent
from daemon.jobs.wishes import FORGETTING, NOT_FORGOTTEN, ForgetWish, Unfinished, unfinished
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import read_status
from trainer.config.loader import load_settings
from trainer.protocol import one_shot
from trainer.protocol.forgetting import MODULE, ForgetOrder, Forgot
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.status import State
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.backups import Backups
    from daemon.client.requests import Requests

WAIT_S = 30 * 86_400.0  # as long as it takes to train a month again


class NotForgotten(ClientError):
    """A file cannot be forgotten, or was not; the message says why."""


class Forgets:
    """Plans and carries it out in one working directory.

    Args:
        backups: returns those at `backup.to`.
    """

    def __init__(self, layout: Layout, requests: "Requests", backups: Callable[[], "Backups"]) -> None:
        self._layout = layout
        self._requests = requests
        self._backups = backups

    def plan(self, name: str, *, keep_versions: bool = False) -> ForgetPlan:
        """Return what forgetting a file means.

        Args:
            name: of the file, the id of its job, or the start of its SHA-256 (at least 8 characters).
            keep_versions: versions that have seen it stay.
        Raises:
            NotForgotten: no file is meant, or several are.
        """
        wish = ForgetWish(name=name, keep_versions=keep_versions, reason="")
        with raising(NotForgotten, CannotForget), raising(UnreadableHistory, UnreadableLedger):
            try:
                with forgetting_of(self._layout, wish) as forgetting:
                    plan = forgetting.plan()
            except UnknownContent as error:
                raise NotForgotten(why_never_seen(self._layout, name) or str(error)) from error
        status = read_status(self._layout)
        has_worker = status.is_running and bool(status.fields.get("worker_pid"))
        newest = status.fields.get("current_step") or 0
        plan = replace(
            plan,
            is_in_training=plan.is_in_training and has_worker,
            unsaved_steps=max(0, newest - plan.current_step) if has_worker else 0,
        )
        return self._with_backups(plan)

    def unfinished(self, *, is_stopping: bool = False) -> Unfinished | None:
        """Return the file that was to be forgotten, and is not, if nobody is at it; None if there is none.

        Args:
            is_stopping: whoever is at it still is about to leave.
        """
        status = read_status(self._layout)
        is_at_work = str(status.fields.get("status_reason") or "").startswith(FORGETTING)
        if status.is_running and is_at_work and not is_stopping:
            return None
        return unfinished(self._layout.models)

    def _with_backups(self, plan: ForgetPlan) -> ForgetPlan:
        try:
            found = self._backups().forget([plan.sha256], dry_run=True)
        except ClientError as error:
            return replace(plan, backups_problem=printable(str(error)))
        if found is None:
            return plan
        return replace(plan, backup_to=found.to, removed_backups=found.removed, cleaned_backups=found.cleaned)

    def carry_out(
        self,
        plan: ForgetPlan,
        *,
        reason: str,
        keep_versions: bool = False,
        on_progress: Callable[[str], object] = lambda line: None,
    ) -> str:
        """Have the model forget; return what was done in words.

        Args:
            on_progress: called with how far it is; if a daemon does it, which logs that, only with what it
                waits for.
        Raises:
            NotForgotten: it did not.
        """
        for why in plan.missing:
            raise NotForgotten(f"{NOT_FORGOTTEN}: {why}")
        status = read_status(self._layout)
        if status.is_running:
            if status.fields.get("status") == State.PAUSED and plan.first_step is not None:
                on_progress("training is paused; the file is forgotten after: training_controller resume")
            elif plan.first_step is not None:
                on_progress("the daemon does it; how far it is: training_controller status")
            request = {"target": plan.sha256, "reason": reason, "keep_versions": keep_versions}
            result = self._requests.send(".forget", request, wait_s=WAIT_S).result
            if result.startswith(NOT_FORGOTTEN):
                raise NotForgotten(result)
            return result
        wish = ForgetWish(name=plan.sha256, keep_versions=keep_versions, reason=reason)
        try:
            with FileLock(self._layout.lock_file, blocking=False):
                return self._without_daemon(wish, on_progress)
        except Timeout as error:
            raise NotForgotten(SOMEBODY_ACTS) from error

    def _without_daemon(self, wish: ForgetWish, on_progress: Callable[[str], object]) -> str:
        settings = load_settings(self._layout.config_file).settings
        with (
            raising(NotForgotten, CannotForget, OrderRefused, NoAnswer),
            raising(UnreadableHistory, UnreadableLedger),
        ):
            order_to_forget(self._layout, wish, settings.model_dump(mode="json"))
            order = ForgetOrder(base_dir=self._layout.base, backup_to=settings.backup.to)
            result = one_shot.ask(MODULE, order, Forgot, on_progress=on_progress)
        return f"{text_of(result)}; the ledger follows when a daemon starts"
