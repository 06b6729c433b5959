"""Train the model again in the scratch folder, and publish what comes of it as the newest checkpoint."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from trainer.checkpoints.publishing import next_sequence, publish_staged, stage_links
from trainer.config.schema import Settings
from trainer.forgetting.recording import Recorder, write_branch
from trainer.forgetting.retraining import History, Retraining, as_it_ended
from trainer.forgetting.scratch import Scratch
from trainer.protocol.checkpoints import (
    FOLDER,
    Checkpoint,
    find_newest,
    read_manifest,
)
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import write_json
from trainer.protocol.forgetting import (
    BranchHeader,
    Item,
    NewPlan,
    OrderHeader,
    RetrainedJob,
    branch_file,
)
from trainer.protocol.job import JobRecord
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch, Manifest, Progress

FINISHED_KEPT = 2_000  # as a session does
# Nobody looks at the answers, what was checked and judged is not checked and judged again, and two
# checkpoints are enough here
ELSEWHERE: dict[str, dict[str, Any]] = {
    "previews": {"prompts": [], "file": None},
    "data": {"validation": "quick"},
    "gate": {"enabled": False},
    "checkpoints": {
        "background": "never",
        "interval_s": 60.0,
        "interval_steps": None,
        "group_commit_s": 60.0,
        "keep_last": 2,
        "keep_every": None,
        "keep_best": 0,
        "spine_max_bytes": 0,
        "max_bytes": None,
    },
}


class CutShort(RuntimeError):
    """Somebody wants this to end; what was trained is kept."""


class NotTheSame(RuntimeError):
    """What was trained before cannot be trained again; the message says why."""


def here(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are in force while a model is trained again."""
    changed = {name: settings.get(name, {}) | section for name, section in ELSEWHERE.items()}
    return {**settings, **changed}


def as_trained_here(item: Item, settings: Mapping[str, Any]) -> Item:
    """Return a job with all settings instead of the frozen ones; a stretch as it is."""
    if not isinstance(item, RetrainedJob):
        return item
    return item.model_copy(update={"settings": here({**settings, **item.frozen})})


def train_again(
    scratch: Scratch,
    base_dir: Path,
    header: OrderHeader,
    history: History,
    *,
    tell: Callable[[str], None],
    is_cut_short: Callable[[], bool],
) -> None:
    """Train all stretches, from where an earlier try has left them.

    Raises:
        CutShort: asked to end; the scratch folder has a checkpoint.
        NotTheSame: a file could be trained then, and cannot now.
        Exception: as loading and training raise.
    """
    from trainer.session.engine import TrainerEngine  # takes seconds

    must_complete = {
        stretch.job_id: history.jobs[stretch.job_id].job.name
        for stretch in history.stretches
        if stretch.then == "ends"
    }
    total = header.base_step + header.steps
    with Recorder(scratch.steps_file, total=total, must_complete=must_complete, tell=tell) as recorder:
        settings = _in_its_precision(Settings.model_validate(here(header.settings)), Layout(base_dir).models)
        engine = TrainerEngine(
            settings,
            base_dir=base_dir,
            models=scratch.models,
            on_event=recorder.take,
            may_measure=False,
        )
        with closing(engine):
            engine.load()
            commands = Retraining(
                history,
                lambda: engine.progress,
                replay_folder=scratch.replayed,
                is_cut_short=lambda: is_cut_short() or recorder.problem is not None,
            )
            engine.run(commands)
            if recorder.problem:
                raise NotTheSame(recorder.problem)
            if is_cut_short():
                raise CutShort
            if find_newest(scratch.models / FOLDER).newest is None:  # the base model as it is
                engine.save(settings.checkpoints).result()
    failpoint("forget.trained")


def _in_its_precision(settings: Settings, models: Path) -> Settings:
    """Return settings in which a model that begins anew computes as it did so far."""
    from trainer.checkpoints.training_state import load_forward_strategy  # takes seconds

    newest = find_newest(models / FOLDER).newest
    strategy = load_forward_strategy(newest.path) if newest else None
    if settings.training.precision != "auto" or not strategy or not strategy.precision:
        return settings
    training = settings.training.model_copy(update={"precision": strategy.precision})
    return settings.model_copy(update={"training": training})


def publish(
    models: Path,
    scratch: Scratch,
    header: OrderHeader,
    history: History,
    *,
    at: str,
) -> Checkpoint:
    """Publish what was trained in the scratch folder as the newest checkpoint.

    Raises:
        NoUsableCheckpoint, DamagedCheckpoint: the scratch folder or the models folder cannot be trusted.
        OSError: it cannot be written; checkpoints and pointer are as before.
    """
    trained = find_newest(scratch.models / FOLDER).newest
    assert trained
    newest = read_manifest(models / FOLDER / header.newest)
    branch = Branch(
        number=newest.branch + 1,
        from_branch=header.base_branch,
        from_step=header.base_step,
        left_step=newest.progress.global_step,
        at=at,
        why="forget",
        reason=header.reason,
        jobs=header.fates,
    )
    base = read_manifest(models / header.base).progress if header.base else Progress()
    settings = Settings.model_validate(header.settings).model_dump(mode="json")
    manifest = trained.manifest.model_copy(
        update={
            "sequence": next_sequence(models),
            "parent": Path(header.base).name if header.base else None,
            "written_at": at,
            "progress": _progress(trained.manifest, base, newest.progress, history, settings),
            "branches": (*newest.branches, branch),
            "settings": settings,
            "settings_sha256": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        }
    )
    plans = [
        NewPlan(job_id=job.job.id, replayed=job.replayed) for job in history.jobs.values() if job.has_new_plan
    ]
    write_branch(
        branch_file(models, branch.number),
        BranchHeader(number=branch.number, at=at, sha256=header.sha256),
        plans,
        scratch.steps_file,
    )
    write_json(scratch.branch_file, branch.model_dump(mode="json"), durable=True)
    failpoint("forget.ready")
    stage_links(models, trained.path, manifest)
    failpoint("forget.staged")
    checkpoint = publish_staged(models, manifest)
    failpoint("forget.published")
    return checkpoint


def _progress(
    trained: Manifest, base: Progress, newest: Progress, history: History, settings: dict[str, Any]
) -> Progress:
    """Return the progress as the model's life has it, not the scratch folder."""
    earlier: dict[str, JobRecord] = {record.job_id: record for record in newest.finished}
    ended = [as_it_ended(record, earlier.get(record.job_id)) for record in trained.progress.finished]
    cursors = {
        job_id: cursor.model_copy(
            update={"settings": _restored(cursor.settings, history.jobs[job_id], settings)}
        )
        if job_id in history.jobs
        else cursor
        for job_id, cursor in trained.progress.cursors.items()
    }
    finished = [*base.finished, *ended][-FINISHED_KEPT:]
    return trained.progress.model_copy(update={"finished": finished, "cursors": cursors})


def _restored(used: dict[str, Any], job: RetrainedJob, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a cursor as they would be had it been trained where the model lives."""
    restored = dict(used)
    for section, changed in ELSEWHERE.items():
        before = job.frozen.get(section, settings[section])
        own = {name: before[name] for name in changed if name in before}
        restored[section] = used.get(section, {}) | own
    return restored
