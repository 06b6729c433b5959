"""Forget a file: what has to be trained again for that, from where, and what is missing.

The ledger knows the order of training; what had no part of the file in it stays as it was.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from daemon.checkpoints.gate_groups import left_unjudged
from daemon.checkpoints.states import KeptState, is_earlier, kept_states
from daemon.files.identity import is_there
from daemon.jobs.forget_plan import ForgetPlan
from daemon.jobs.replay import FILES_REPLAYED
from daemon.jobs.traces import Traces, places_of
from daemon.ledger.forgetting import Content, ForgettingReader, TrainedJob
from daemon.ledger.stretches import RecordedStretch
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.forgetting import Erased, Item, OrderHeader, RetrainedJob, Stretch
from trainer.protocol.job import EarlierFile, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import JobFate, Manifest
from trainer.protocol.text import num_of, printable, shell_word
from trainer.versions.marks import MarkJournal, marks_after
from trainer.versions.registry import FOLDER as VERSIONS

NAMED = 3
LIBRARIES = ("torch", "transformers", "peft")


class CannotForget(RuntimeError):
    """A file cannot be forgotten; the message says why, and the way out."""


class UnknownContent(CannotForget):
    """No file that was ever accepted is meant."""


class Forgetting:
    """One content, one model, one ledger.

    Args:
        newest: the checkpoint that the model has, with its manifest; None if there is none.
        keep_versions: versions that have seen the file stay.
    """

    def __init__(
        self,
        layout: Layout,
        ledger: ForgettingReader,
        content: Content,
        newest: tuple[str, Manifest] | None,
        *,
        keep_versions: bool = False,
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._content = content
        self._newest_name = newest[0] if newest else ""
        self._newest = newest[1] if newest else None
        self._keep_versions = keep_versions
        self._forgotten = set(content.job_ids)
        self._new_plans = set(ledger.replaying(content.sha256)) - self._forgotten

    # ---- from where

    @cached_property
    def first_step(self) -> int | None:
        """The first step that the file had any part in; None if it had none in the present state."""
        found = self._ledger.first_steps(self._forgotten | self._new_plans)
        return min((step for step in found if step <= self.current_step), default=None)

    @property
    def _has_newer_steps(self) -> bool:
        """Whether the ledger has steps with it that the newest checkpoint does not have."""
        found = self._ledger.last_steps(self._forgotten | self._new_plans)
        return any(step > self.current_step for step in found)

    @property
    def may_train(self) -> bool:
        """Whether the model has seen it, or may have by the time at which its worker has saved."""
        if self.first_step is not None or self._has_newer_steps:
            return True
        jobs = map(self._ledger.job, self._forgotten | self._new_plans)
        return any(job.state == "processing" for job in jobs if job)

    @property
    def current_step(self) -> int:
        return self._newest.progress.global_step if self._newest else 0

    @cached_property
    def _states(self) -> list[KeptState]:
        return list(kept_states(self._layout.models))

    @cached_property
    def base(self) -> KeptState | None:
        """The newest kept state from before that step, beside the same base model; None is that itself."""
        if self.first_step is None or self._newest is None:
            return None
        merged = self._newest.consolidations
        earlier = [
            state
            for state in self._states
            if state.step < self.first_step and state.is_whole and is_earlier(state.manifest, self._newest)
            if state.manifest.consolidations == merged  # a merge cannot be repeated, or undone
        ]
        return max(earlier, key=lambda state: (state.step, state.manifest.sequence), default=None)

    @property
    def base_step(self) -> int:
        return self.base.step if self.base else 0

    # ---- what is trained again

    @cached_property
    def _recorded(self) -> list[RecordedStretch]:
        if self.first_step is None:
            return []
        return self._ledger.stretches(after=self.base_step, until=self.current_step)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The stretches after the base without the file's, in the order of training."""
        kept = [item for item in self._recorded if item.job_id not in self._forgotten]
        lives = list(_lives(kept))
        last_life = {stretch.job_id: life for life, stretch in lives}
        last_of_life = {(life, stretch.job_id): number for number, (life, stretch) in enumerate(lives)}
        joined: list[Stretch] = []
        for number, (life, stretch) in enumerate(lives):
            is_last = last_of_life[life, stretch.job_id] == number
            ends = is_last and self._how_it_ends(stretch.job_id, is_last=life == last_life[stretch.job_id])
            item = Stretch(
                job_id=stretch.job_id,
                life=life,
                until=None if ends == "ends" else _last_file_step(stretch),
                then=ends or "waits",
            )
            if joined and (joined[-1].job_id, joined[-1].life) == (item.job_id, item.life):
                joined.pop()
            joined.append(item)
        return joined

    def _how_it_ends(self, job_id: str, *, is_last: bool) -> Any:
        assert self._newest
        progress = self._newest.progress
        if not is_last:
            return "is_put_aside"
        if job_id in progress.cursors:
            return "waits"
        ended = [record.outcome for record in progress.finished if record.job_id == job_id]
        job = self._ledger.job(job_id)
        is_completed = ended[-1] is Outcome.COMPLETED if ended else bool(job and job.state == "completed")
        return "ends" if is_completed else "is_put_aside"

    def items(self) -> Iterator[Item]:
        """Yield the jobs and stretches to be trained, each job before its first stretch."""
        seen = set()
        for stretch in self.stretches:
            if stretch.job_id not in seen:
                seen.add(stretch.job_id)
                yield self._retrained(stretch.job_id)
            yield stretch

    def _retrained(self, job_id: str) -> RetrainedJob:
        found = self._ledger.job(job_id)
        path = found and self._path_of(found)
        if found is None or path is None:
            raise CannotForget(f"the content of job {job_id} is gone")
        replayed = self._replayed(found)
        paths = {file.job_id: self._path_of_earlier(file) for file in replayed}
        return RetrainedJob(
            job=found.job,
            path=str(path),
            frozen=found.settings or {},
            replayed=replayed,
            replay_paths={key: str(place) for key, place in paths.items() if place},
            has_new_plan=job_id in self._new_plans,
            micro_batch_tokens=found.micro_batch_tokens,
            left_out=found.left_out,
        )

    def _replayed(self, found: TrainedJob) -> tuple[EarlierFile, ...]:
        """Return what a job replays that has never heard of the file: the next older one takes its place."""
        if found.job.id not in self._new_plans:
            return found.replayed
        chosen = [file for file in found.replayed if file.sha256 != self._content.sha256]
        if len(found.replayed) == FILES_REPLAYED and found.started_at:
            known = {found.job.sha256, self._content.sha256, *(file.sha256 for file in chosen)}
            oldest = min(file.job_id for file in found.replayed)
            older = self._ledger.older_completed(oldest, until=found.started_at)
            fresh = (file for file in older if file.sha256 not in known and self._path_of_earlier(file))
            chosen += itertools.islice(fresh, 1)
        return tuple(chosen)

    # ---- where the contents are

    def _path_of(self, found: TrainedJob) -> Path | None:
        kept = self._layout.kept_files / found.job.sha256
        if kept.is_file():
            return kept
        return next((path for path in places_of(self._layout, found) if is_there(path, found.identity)), None)

    def _path_of_earlier(self, file: EarlierFile) -> Path | None:
        found = self._ledger.job(file.job_id)
        return self._path_of(found) if found else None

    # ---- what keeps it from being done, or from being exact

    def missing(self) -> Iterator[str]:
        """Yield why it cannot be done."""
        if self.first_step is None or self._newest is None:
            return
        gap = self._gap()
        if gap is not None:
            yield (
                f"the ledger does not know which files step {gap:,} and those after it belong to; it was "
                "started anew, or a daemon has to catch up first: training_daemon start"
            )
        if why := self._merged_since():
            yield why
        if self.base and (changed := self._changed_settings(self.base.manifest.locked)):
            yield (
                f"{changed} changed after {self.base.path.name}, so what came after cannot be trained again "
                "from there"
            )
        gone = [printable(name) for name in self._gone()]
        if gone:
            more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
            yield (
                f"{num_of(len(gone), 'file')} trained since {self._base_text} cannot be found any more: "
                f"{', '.join(gone[:NAMED])}{more}; if you have copies, put them into models/data/ under "
                "their SHA-256"
            )

    def _changed_settings(self, earlier: Mapping[str, Any]) -> str:
        """Return the locked settings that are not what they were."""
        now = self._newest.locked if self._newest else {}
        names = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
        return printable(" and ".join(names))

    @property
    def _base_text(self) -> str:
        return f"step {self.base_step:,}" if self.base else "the base model (no older checkpoint is kept)"

    def _merged_since(self) -> str | None:
        """Return why an adapter that was merged stands in the way."""
        if self.base or self.first_step is None or not self._newest or not self._newest.consolidations:
            return None
        merges = self._newest.consolidations
        after = [merge for merge in merges if merge.global_step >= self.first_step]
        merge = (after or merges[-1:])[0]
        why = f"the adapter was merged into the base model at step {merge.global_step:,}, and "
        if after:
            why += f"the file came in at step {self.first_step:,}, so the base model has it in its weights"
        else:
            why += (
                f"no state is kept from after that and before step {self.first_step:,}, at which the file "
                "came in"
            )
        if not any(state.is_version and state.path.name == merge.kept_as for state in self._states):
            return f"{why}; version {merge.kept_as}, the state before that, is gone, too{self._way_around()}"
        return (
            f"{why}; go back to the state before that, have what came since trained again, and then forget "
            f"the file: training_models rollback --to {merge.kept_as} --requeue"
        )

    def _way_around(self) -> str:
        """Return what is left to do where the state before a merge is gone."""
        older = [
            state.step
            for state in self._states
            if state.step < (self.first_step or 0) and state.is_whole
            if self._newest and is_earlier(state.manifest, self._newest)
        ]
        if older:
            without = " ".join(f"--without {shell_word(job_id)}" for job_id in self._content.job_ids)
            return (
                "; go back to before the file, have the others trained again, and then forget it: "
                f"training_models rollback --steps {self.current_step - max(older)} --requeue {without}"
            )
        return (
            ", and so is every state from before the file; to be rid of it, train the other files in another "
            "working directory: training_daemon init FOLDER"
        )

    def _gap(self) -> int | None:
        step = self.base_step
        for stretch in self._recorded:
            if stretch.first_step != step + 1:
                return step + 1
            step = stretch.last_step
        return step + 1 if step < self.current_step else None

    def _gone(self) -> Iterator[str]:
        for job_id in dict.fromkeys(stretch.job_id for stretch in self.stretches):
            found = self._ledger.job(job_id)
            if found is None:
                yield job_id
            elif self._path_of(found) is None:
                yield f"{found.job.name} ({found.job.sha256})"
            else:
                for file in self._replayed(found):
                    if self._path_of_earlier(file) is None:
                        yield f"{file.name} ({file.sha256}), replayed by {found.job.name}"

    def inexact(self) -> Iterator[str]:
        """Yield why the result may differ in the last bits from a run that never saw the file."""
        if self.first_step is None or self._newest is None:
            return
        then = [self._newest, *([self.base.manifest] if self.base else [])]
        for name in LIBRARIES:
            now = _version_of(name)
            others = {item.versions[name] for item in then if item.versions.get(name) not in (None, now)}
            if others:
                yield f"{name} is {now}; it was {' and '.join(sorted(others))} when the model was trained"
        if len(devices := {item.device for item in then}) > 1:
            yield f"it was trained on {' and on '.join(sorted(devices))}"
        if any(self._ledger_job_lacks_settings(stretch.job_id) for stretch in self.stretches):
            yield "the settings of some files are not known any more; the present ones are taken"

    def _ledger_job_lacks_settings(self, job_id: str) -> bool:
        found = self._ledger.job(job_id)
        return found is not None and not found.settings

    # ---- what is erased

    @cached_property
    def _erased(self) -> Erased:
        traces = Traces(
            self._layout,
            self._ledger,
            self._content,
            self._newest,
            self._states,
            jobs=self._forgotten | self._new_plans,
            keep_versions=self._keep_versions,
        )
        return traces.erased()

    # ---- all together

    def plan(self) -> ForgetPlan:
        """Return what forgetting the file means."""
        jobs = {stretch.job_id for stretch in self.stretches}
        new_plans = [self._ledger.job(job_id) for job_id in sorted(jobs & self._new_plans)]
        steps, seconds = self._cost()
        return ForgetPlan(
            sha256=self._content.sha256,
            names=self._content.names,
            job_ids=self._content.job_ids,
            first_step=self.first_step,
            base=self._base_name,
            base_step=self.base_step,
            current_step=self.current_step,
            steps=steps,
            seconds=seconds,
            files=len(jobs),
            new_plans=tuple(printable(job.job.name) for job in new_plans if job),
            missing=tuple(self.missing()),
            inexact=tuple(self.inexact()),
            checkpoints=self._erased.checkpoints,
            versions=self._erased.versions,
            bases=self._erased.bases,
            unjudged=self._unjudged(),
            aliases=self._aliases_of(self._erased.versions),
            others=tuple(map(printable, self._erased.others)),
            is_forgotten=all(job.is_forgotten for job in map(self._ledger.job, self._forgotten) if job),
            is_in_training=self._has_newer_steps,
        )

    def _aliases_of(self, versions: Collection[str]) -> tuple[str, ...]:
        marks = marks_after(MarkJournal(self._layout.models / VERSIONS).read())
        return tuple(sorted(alias for alias, meant in marks.aliases.items() if meant in versions))

    def _unjudged(self) -> tuple[str, ...]:
        if self.first_step is None:
            return ()
        newest = self._layout.models / FOLDER / self._newest_name
        dropped = self._forgotten | self._new_plans
        found = left_unjudged(newest, self.base.path if self.base else None, dropped=dropped)
        return tuple(name for job_id, name in found.items() if job_id not in self._forgotten)

    @property
    def _base_name(self) -> str | None:
        return str(self.base.path.relative_to(self._layout.models)) if self.base else None

    def _cost(self) -> tuple[int, float | None]:
        usual = self._ledger.seconds_per_step()
        steps, seconds = 0, 0.0
        for stretch in self._recorded:
            if stretch.job_id in self._forgotten:
                continue
            number = stretch.last_step - stretch.first_step + 1
            job = self._ledger.job(stretch.job_id)
            steps += number
            seconds += number * ((job and job.seconds_per_step) or usual or 0.0)
        return steps, seconds if usual is not None else None

    def header(self, *, settings: Mapping[str, Any], reason: str) -> OrderHeader:
        """Return the beginning of the order to do it.

        Raises:
            CannotForget: something is missing.
        """
        for why in self.missing():
            raise CannotForget(why)
        is_trained = self.first_step is not None
        return OrderHeader(
            sha256=self._content.sha256,
            reason=reason,
            newest=self._newest_name,
            base=self._base_name,
            base_branch=self.base.manifest.branch if self.base else 0,
            base_step=self.base_step,
            is_trained=is_trained,
            dropped_cursors=tuple(sorted(self._forgotten | self._new_plans)) if is_trained else (),
            fates=tuple(JobFate(job_id=job_id, fate="forgotten") for job_id in self._content.job_ids),
            settings=dict(settings),
            erased=self._erased,
            unjudged=self._unjudged(),
            steps=self._cost()[0],
        )


def _lives(stretches: Iterable[RecordedStretch]) -> Iterator[tuple[int, RecordedStretch]]:
    """Yield each stretch with the number of times that its job had ended before."""
    life: dict[str, int] = {}
    came_to: dict[str, int] = {}
    for stretch in stretches:
        if stretch.first_file_step <= came_to.get(stretch.job_id, 0):
            life[stretch.job_id] = life.get(stretch.job_id, 0) + 1
        came_to[stretch.job_id] = _last_file_step(stretch)
        yield life.get(stretch.job_id, 0), stretch


def _last_file_step(stretch: RecordedStretch) -> int:
    return stretch.first_file_step + stretch.last_step - stretch.first_step


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def found_content(ledger: ForgettingReader, name: str) -> Content:
    """Return the content that a person means.

    Raises:
        UnknownContent: none is meant.
        CannotForget: several are.
    """
    found = ledger.contents(name.rpartition("/")[2])
    if not found:
        raise UnknownContent(
            f"no file is known as {printable(name)}; expected its name, as training_queue history shows it, "
            "the id of its job, or the start of its SHA-256 (at least 8 characters)"
        )
    if len(found) > 1:
        listed = ", ".join(content.sha256[:12] for content in found[:10])
        raise CannotForget(
            f"{printable(name)} means {len(found)} different contents; say which by its SHA-256: {listed}"
        )
    return found[0]
