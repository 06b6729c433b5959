"""The API of the page Models: what takes long or cannot be taken back; plans, and acts with a state."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.client.errors import ClientError
from daemon.monitor.endpoints import Api, BadRequest, NotFound
from daemon.monitor.models_api import Format, as_table
from daemon.monitor.tasks import Running, Task, tasks_of
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import BackupList, CleaningPlan, DiskUsage, ForgetPlan, RollbackPlan
    from daemon.client.rollback import Requeue

Name = Annotated[str, Field(min_length=1, max_length=1_000)]
BACKUP_COLUMNS = (
    *("id", "at", "why", "origin", "global_step", "branch", "files", "total_bytes", "has_fingerprint"),
)
PLACE_COLUMNS = ("name", "folder", "bytes", "files")

api = Api()


class PlanChanged(ClientError):
    """What somebody has agreed to is not what would be done now."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WantedVersion(_Body):
    """A version that is to be made."""

    checkpoint: Name = "current"
    note: str | None = None


class WantedTarget(_Body):
    """Where the model is to go; one of the first three."""

    version: Name | None = None
    file: Name | None = None
    """To before its first step."""
    steps: Annotated[int, Field(ge=1)] | None = None
    requeue: bool = False
    """Train again what is undone."""
    without: list[Name] = []
    """Names or job ids of files that are not."""


class GoBack(WantedTarget):
    """The same, after somebody has seen the plan."""

    target: Name
    """Of the plan."""


class Forget(_Body):
    """A file that is to be forgotten, after somebody has seen the plan."""

    file: Name
    keep_versions: bool = False
    typed: str
    """One of the names in the plan, as somebody has typed it."""


class WantedComparison(_Body):
    """Two versions that are to be compared on the same rows and prompts."""

    before: Name
    after: Name
    rows: Annotated[int, Field(ge=1)] | None = None
    """At most so many rows of the validation file; None for `validation.max_rows`."""


class WantedBackup(_Body):
    """A backup that is to be made."""

    versions: list[Name] = []
    """Those that are in it with their weights."""


class WantedVerification(_Body):
    """Which backup is to be verified."""

    backup: Name | None = None
    """None for all."""


class WantedSpace(_Body):
    """What is to be removed, after somebody has seen the plan."""

    everything: bool = False
    paths: list[Name]
    """Those of the plan's acts."""


# ---- tasks


@api.get("/api/tasks")
def tasks(client: Client) -> list[Task]:
    """Acts that take long: those that run, and those that ran last; without the results of comparisons."""
    found = tasks_of(client).all()  # which is read again with each step of one, and results may be long
    return [replace(task, result=None) if task.kind == "compare" else task for task in found]


@api.get("/api/tasks/{task_id}")
def task(client: Client, task_id: str) -> Task:
    """One of them: how far it is, and what came of it."""
    return _known(tasks_of(client).find(task_id))


@api.post("/api/tasks/{task_id}/cancel")
def cancel_task(client: Client, task_id: str) -> Task:
    """End an act that runs in a process of the monitor. What a daemon was asked for, it does all the same."""
    return _known(tasks_of(client).cancel(task_id))


# ---- versions


@api.post("/api/models/versions")
def create_version(client: Client, body: WantedVersion) -> Task:
    """Make a version of the newest checkpoint, or of another one; all its files are read."""

    def act(running: Running) -> Any:
        return client.models.create_apart(body.checkpoint, note=body.note or None)

    return tasks_of(client).start("create_version", f"make a version of {body.checkpoint}", act)


@api.post("/api/models/versions/{name}/delete")
def delete_version(client: Client, name: str) -> Task:
    """Put a version into the trash, after a backup where `backup.before` wants one."""
    found = client.models.locate(name)
    client.models.require_deletable(found)

    def act(running: Running) -> Any:
        client.models.delete(found)
        return {"version": found.id}

    return tasks_of(client).start("delete_version", f"delete {found.id}", act, about={"version": found.id})


# ---- going back, and forgetting


@api.get("/api/models/rollback-plan")
def rollback_plan(
    client: Client,
    to: Literal["version", "file", "steps"],
    target: Name,
    requeue: bool = False,
    without: str | None = None,
) -> "RollbackPlan":
    """What it means to go back: to a version, to before a file, or by at least so many steps."""
    try:
        wanted = WantedTarget.model_validate({to: int(target) if to == "steps" else target})
    except ValueError as error:
        raise BadRequest(f"target is {printable(target)!r}; expected a number of steps above 0") from error
    update = {"requeue": requeue, "without": [without] if without else []}
    return _plan(client, wanted.model_copy(update=update))[0]


@api.post("/api/models/rollback")
def go_back(client: Client, body: GoBack) -> Task:
    """Go back, or forward again; a daemon that runs does it at the next step."""
    plan, requeue = _plan(client, body)
    if plan.target != body.target:
        raise PlanChanged(
            f"the model would go to models/{plan.target} now, and not to models/{printable(body.target)}; "
            "look at the plan again"
        )

    def act(running: Running) -> Any:
        if client.status().is_running:
            running.say("the daemon does it at the next step")
        reason = f"asked for on the web page: to {plan.target}"
        return {"said": client.rollbacks.carry_out(plan, reason=reason, requeue=requeue), "plan": plan}

    title = f"go to step {plan.target_step:,} (models/{plan.target})"
    return tasks_of(client).start("go_back", title, act)


@api.get("/api/models/forget-plan")
def forget_plan(client: Client, file: str, keep_versions: bool = False) -> "ForgetPlan":
    """What it means to forget a file: what is trained again, what is erased, and what cannot be reached."""
    return client.forgetting.plan(file, keep_versions=keep_versions)


@api.post("/api/models/forget")
def forget(client: Client, body: Forget) -> Task:
    """Have the model forget a file; a daemon that runs does it, and continues if the monitor ends."""
    plan = client.forgetting.plan(body.file, keep_versions=body.keep_versions)
    if body.typed.strip() not in plan.names:
        raise BadRequest(f"{printable(body.typed)!r} was typed; expected {plan.names[0]}")

    def act(running: Running) -> Any:
        said = client.forgetting.carry_out(
            plan,
            reason=f"asked for on the web page: {plan.names[0]}",
            keep_versions=body.keep_versions,
            on_progress=running.say,
        )
        return {"said": said, "plan": plan}

    return tasks_of(client).start("forget", f"forget {plan.names[0]}", act, about={"file": plan.names[0]})


# ---- comparisons


@api.post("/api/models/comparisons")
def compare_versions(client: Client, body: WantedComparison) -> Task:
    """Compare two versions on the same rows and prompts, in a process of its own; one pair at a time."""
    from daemon.client.compare import WantedComparison as Wanted

    before, after = client.models.find(body.before), client.models.find(body.after)

    def act(running: Running) -> Any:
        return client.comparisons.compare(
            before, after, Wanted(rows=body.rows), on_start=running.began, on_progress=running.say
        ).as_json

    return tasks_of(client).start(
        "compare",
        f"compare {before.id} with {after.id}",
        act,
        about={"before": before.id, "after": after.id, "rows": body.rows},
        is_cancellable=True,
    )


# ---- backups


@api.get("/api/models/backups")
def backups(client: Client, format: Format = "json") -> "BackupList | Response | None":
    """The backups where `backup.to` says, oldest first; null where it says nothing. May take a while."""
    from daemon.client.backups import NoDestination

    try:
        found = client.backups().list()
    except NoDestination:
        found = None
    if format == "json":
        return found
    return as_table(BACKUP_COLUMNS, found.backups if found else (), name="backups")


@api.post("/api/models/backups")
def back_up(client: Client, body: WantedBackup) -> Task:
    """Make a backup of the newest checkpoint with all that it takes to continue from it."""

    def act(running: Running) -> Any:
        return client.backups(on_progress=running.say).create(versions=body.versions)

    return tasks_of(client).start("back_up", "make a backup", act)


@api.post("/api/models/backups/verify")
def verify_backups(client: Client, body: WantedVerification) -> Task:
    """Hash everything in the backups again."""

    def act(running: Running) -> Any:
        return client.backups(on_progress=running.say).verify(body.backup)

    return tasks_of(client).start("verify_backups", f"verify {body.backup or 'all backups'}", act)


# ---- disk


@api.get("/api/models/disk")
def disk_usage(client: Client, format: Format = "json") -> "DiskUsage | Response":
    """What takes space on the disk, how fast it grows, and what could be freed."""
    found = client.disk.usage()
    return found if format == "json" else as_table(PLACE_COLUMNS, found.usage.places, name="disk")


@api.get("/api/models/disk-plan")
def disk_plan(client: Client, everything: bool = False) -> "CleaningPlan":
    """What would be removed: until as much is free as the daemon wants, or everything that may go."""
    return client.disk.plan(wanted_bytes=None if everything else client.disk.usual_bytes())


@api.post("/api/models/disk")
def free_space(client: Client, body: WantedSpace) -> Task:
    """Remove what the plan says, as far as it may still be removed."""
    plan = disk_plan(client, everything=body.everything)
    plan = plan.model_copy(update={"acts": tuple(act for act in plan.acts if act.path in set(body.paths))})

    def act(running: Running) -> Any:
        return client.disk.carry_out(plan)

    return tasks_of(client).start("free_space", "free disk space", act)


# ---- parts


def _plan(client: Client, wanted: WantedTarget) -> "tuple[RollbackPlan, Requeue]":
    from daemon.client.rollback import Requeue

    if sum(value is not None for value in (wanted.version, wanted.file, wanted.steps)) != 1:
        raise BadRequest("expected one of version, file and steps")
    if wanted.without and not wanted.requeue:
        raise BadRequest("without needs requeue: no file is trained again otherwise")
    requeue = Requeue(is_wanted=wanted.requeue, without=tuple(wanted.without))
    if wanted.version is not None:
        return client.rollbacks.plan_to(client.models.find(wanted.version), requeue), requeue
    if wanted.file is not None:
        return client.rollbacks.plan_file(wanted.file, requeue), requeue
    return client.rollbacks.plan_steps(wanted.steps or 0, requeue), requeue


def _known(found: Task | None) -> Task:
    if found is None:
        raise NotFound("the monitor knows no such task any more; see /api/tasks")
    return found
