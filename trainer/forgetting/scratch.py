"""The folder in which the model is trained again: what a kill leaves there is continued, or started anew.

Nothing in it counts before it is published, so the present model stays what it is until then.
"""

import os
import shutil
from pathlib import Path

from trainer.checkpoints.publishing import publish_staged, stage_links
from trainer.forgetting.retraining import History, stretches_done
from trainer.protocol.checkpoints import AVERAGE_POINTER, FOLDER, POINTER, find_newest, verify
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import link_or_copy
from trainer.protocol.forgetting import (
    BRANCHES,
    ORDER_FILE,
    SCRATCH,
    OrderHeader,
    RetrainedJob,
    Stretch,
    UnreadableOrder,
    read_header,
    read_items,
)

NOT_LINKED = (FOLDER, POINTER, AVERAGE_POINTER, BRANCHES, "versions", "data")


class Scratch:
    """The folder `models/.forget/`."""

    def __init__(self, models: Path) -> None:
        self._real_models = models
        self.folder = models / SCRATCH
        self.models = self.folder / "models"
        self.replayed = self.folder / "replayed"
        self.steps_file = self.folder / "steps.jsonl"
        self.order_file = self.folder / ORDER_FILE
        self.branch_file = self.folder / "branch.json"
        """Which branch is published, written before it is."""
        self._started_with = self.folder / "started.jsonl"

    def prepare(self, header: OrderHeader, history: History) -> None:
        """Make ready what is to be trained on: what an earlier try has left, or the base.

        Raises:
            DamagedCheckpoint: the base is not what its manifest says.
        """
        if not self._can_continue(header, history):
            self._started_with.unlink(missing_ok=True)
            for folder in (self.models, self.replayed):
                shutil.rmtree(folder, ignore_errors=True)
            self.steps_file.unlink(missing_ok=True)
        shutil.copyfile(self.order_file, partial := self._started_with.with_suffix(".tmp"))
        os.replace(partial, self._started_with)
        failpoint("forget.started")
        (self.models / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._real_models.iterdir():
            link = self.models / path.name
            if path.name not in NOT_LINKED and not path.name.startswith(".") and not os.path.lexists(link):
                link.symlink_to(path)
        self._link_replayed(history)
        if header.base and find_newest(self.models / FOLDER).newest is None:
            self._take_base(header, self._real_models / header.base)

    def is_trained(self, history: History) -> bool:
        """Whether everything is trained again already."""
        newest = find_newest(self.models / FOLDER).newest
        done = stretches_done(history.stretches, newest.manifest.progress) if newest else 0
        return newest is not None and done == len(history.stretches)

    def remove(self) -> None:
        """Remove the folder; the order last, because as long as it is there, this is not over."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in (self.order_file.name, self.branch_file.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.order_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_base(self, header: OrderHeader, base: Path) -> None:
        manifest = verify(base)
        kept = {
            job_id: cursor
            for job_id, cursor in manifest.progress.cursors.items()
            if job_id not in header.dropped_cursors
        }
        # Which jobs have ended is counted from here on: an id may come again
        progress = manifest.progress.model_copy(update={"cursors": kept, "finished": []})
        stage_links(self.models, base, manifest)
        publish_staged(self.models, manifest.model_copy(update={"sequence": 1, "progress": progress}))
        failpoint("forget.seeded")

    def _link_replayed(self, history: History) -> None:
        self.replayed.mkdir(mode=0o700, exist_ok=True)
        for job in history.jobs.values():
            for job_id, path in job.replay_paths.items():
                if not os.path.lexists(self.replayed / job_id):
                    link_or_copy(Path(path), self.replayed / job_id)

    def _can_continue(self, header: OrderHeader, history: History) -> bool:
        """Whether what was trained before is the beginning of what is to be trained now."""
        try:
            before, items = read_header(self._started_with), History(read_items(self._started_with))
        except (OSError, UnreadableOrder):
            return False
        names = ("sha256", "base", "base_branch", "base_step", "dropped_cursors", "settings")
        if any(getattr(before, name) != getattr(header, name) for name in names):
            return False
        newest = find_newest(self.models / FOLDER).newest if (self.models / FOLDER).is_dir() else None
        if newest is None:
            return True
        progress = newest.manifest.progress
        done_then = stretches_done(items.stretches, progress)
        done = stretches_done(history.stretches, progress)
        # The last one that was asked for may have become longer meanwhile, or have come to its end
        return (
            done_then - 1 <= done <= done_then
            and _first(items, done) == _first(history, done)
            and _in_progress(items, done) in (None, _in_progress(history, done))
        )


def _first(history: History, count: int) -> list[tuple[Stretch, RetrainedJob]]:
    return [(stretch, _what_of(history, stretch)) for stretch in history.stretches[:count]]


def _in_progress(history: History, number: int) -> tuple[str, int, RetrainedJob] | None:
    """Return what is trained in a stretch, however long it is; None if there is no such stretch."""
    if number >= len(history.stretches):
        return None
    stretch = history.stretches[number]
    return stretch.job_id, stretch.life, _what_of(history, stretch)


def _what_of(history: History, stretch: Stretch) -> RetrainedJob:
    job = history.jobs[stretch.job_id]
    # Wherever the contents lie; the settings are those of the header, but for the frozen ones
    return job.model_copy(update={"path": "", "replay_paths": {}, "settings": {}})
