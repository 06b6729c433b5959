"""A run of jobs in one warm process: pauses and obeys between steps, feeds the trainer, decides when to save.

    next order -> open file -> [ commands · save if due · step · record · evaluate if due ] …
               -> job ended -> next order
                  saved: job's file may move

Everything happens at step boundaries, where the weights are those after a whole optimizer step. So a pause,
too, lets the step in progress end; then everything is saved, and nothing is trained until it is resumed.
"""

import errno
import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.reading.rows import BadRow, FileChanged, RowFile
from trainer.data.rendering.render import ExampleRenderer
from trainer.data.rendering.token_cache import TokenCache
from trainer.evaluation.regression import Measured
from trainer.evaluation.scheduling import EvaluationSchedule
from trainer.pipeline.example_pipeline import ExamplePipeline
from trainer.pipeline.job_plan import job_settings
from trainer.pipeline.replay import EarlierFiles
from trainer.profiles.base import BrokenProfile
from trainer.protocol.faults import BrokenModel, NotFinite, UnusableReplay
from trainer.protocol.job import Cursor, FaultKind, Job, JobRecord, Outcome, Window
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import (
    Blocked,
    ChangeCheckpoints,
    Command,
    Continued,
    ForgetJobs,
    Held,
    JobEnded,
    JobPreempted,
    JobStarted,
    LoadModel,
    Notice,
    Pause,
    PreemptJob,
    PrepareJob,
    QueueEmpty,
    Resume,
    ShutDown,
    SkipJob,
    StartJob,
    Unblocked,
)
from trainer.reporting.reporter import Reporter
from trainer.session.data_checks import DataChecks, RefusedData
from trainer.session.gate import Gate
from trainer.session.interfaces import CommandSource, SessionEngine
from trainer.session.next_files import NextFiles
from trainer.session.open_job import OpenJob, SessionResources, UnreadableRows, open_job
from trainer.session.row_check import RowCheck
from trainer.session.saver import Saver, why_not_saved
from trainer.step.feeding_trainer import StepBundle

FAULTS_OF_A_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR)
FINISHED_KEPT = 2_000  # ended jobs that a checkpoint keeps; the daemon files them away within seconds
BAD_STEPS_ALLOWED = 3  # among so many steps of a job, until it goes back to the last checkpoint without them
BAD_STEPS_SPAN = 50
SAVE_RETRY_S = 5.0


class Session:
    """Runs jobs as commands ask for them.

    Args:
        settings: in force while no job is open.
        cache: keeps tokenized rows; None to keep none.
        base_dir: where relative paths in the settings start.
        scratch: where packed files are unpacked; None takes the system's folder for temporary files.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        engine: SessionEngine,
        commands: CommandSource,
        reporter: Reporter,
        settings: Settings,
        *,
        cache: TokenCache | None = None,
        base_dir: Path = Path(),
        scratch: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._commands = commands
        self._reporter = reporter
        self._settings = settings
        self._clock = clock
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rows")
        self._next_files = NextFiles(scratch)
        self._earlier_files = EarlierFiles(self._executor, reporter.tick, scratch)
        renderer = ExampleRenderer(engine.tokenizer)
        self._pipeline = ExamplePipeline(renderer, self._executor, cache, base_dir)
        self._resources = SessionResources(self._pipeline, self._earlier_files, engine.batch_sizes)
        self._data_checks = DataChecks(self._pipeline, reporter)
        self._order: StartJob | None = None
        self._paused = False
        self._stopping = False
        self._queue_is_empty = False
        self._skipped_job: str | None = None
        self._job_to_preempt: str | None = None
        self._saver = Saver(engine, reporter, clock=clock)
        self._evaluations = EvaluationSchedule(engine, reporter, clock=clock)
        self._gate = Gate(
            engine,
            self._evaluations,
            reporter,
            save_now=self._save_for_gate,
            on_done=self._note_done,
            clock=clock,
        )
        self._row_check = RowCheck(self._evaluations, self._pipeline)
        self._held = False

    @property
    def progress(self) -> Progress:
        return self._engine.progress

    def bundles(self) -> Generator[StepBundle, None, None]:
        """Yield the steps of the whole session; it ends on `ShutDown`, with everything saved."""
        try:
            while (order := self._next_order()) is not None:
                yield from self._train(order)
            self._save(wait=True)
        finally:
            self._data_checks.drop_others(None)
            self._next_files.close()
            self._executor.shutdown()
            self._earlier_files.close()

    # ---- orders and commands

    def _next_order(self) -> StartJob | None:
        while not self._stopping:
            if self._order and not self._paused and not self._gate.is_refused:
                order, self._order = self._order, None
                return order
            if self._queue_is_empty:
                self._gate.judge_rest(self._settings)
            if self._queue_is_empty and self._saver.has_uncommitted:
                self._save(wait=True)
            self._save_if_due()
            self._enter_idle()
            if self._stopping or (self._order and not self._paused and not self._gate.is_refused):
                continue  # that came while a save waited for room
            seconds = self._saver.seconds_to_commit(self._settings.checkpoints)
            command = self._commands.get(seconds)
            self._obey(command)
            if command is None:
                self._save(wait=True)  # nothing to do but this
        return None

    def _enter_idle(self) -> None:
        if self._paused:
            self._hold()
        elif self._reporter.section != "idle":
            self._reporter.section = "idle"
            self._reporter.flush()

    def _obey(self, command: Command | None) -> None:
        match command:
            case StartJob():
                self._order = command
                self._queue_is_empty = False
                self._job_to_preempt = None  # what was asked for before came too late
            case PrepareJob():
                self._prepare(command)
            case QueueEmpty():
                self._queue_is_empty = True
            case Pause():
                self._paused = True
            case Resume():
                self._resume()
            case SkipJob():
                self._skipped_job = command.job_id
                self._drop_order(command.job_id)
            case PreemptJob():
                self._job_to_preempt = command.job_id
                self._return_order(command.job_id)
            case ForgetJobs():
                for job_id in command.job_ids:
                    self.progress.cursors.pop(job_id, None)
                self._gate.forget_others()
            case ChangeCheckpoints():
                changed = CheckpointSettings.model_validate(command.settings)
                self._settings = self._settings.model_copy(update={"checkpoints": changed})
                if not self._saver.is_saving:  # else another process may be removing some
                    self._engine.tidy_up(changed)
            case ShutDown():
                self._stopping = True
            case LoadModel() | None:
                pass

    def _prepare(self, command: PrepareJob) -> None:
        job, cursor = command.job, self.progress.cursors.get(command.job.id)
        render = self._pipeline.render_ahead(job, self._settings, cursor)
        check = self._data_checks.ahead(job, self._settings, cursor)

        def make_ready(rows: RowFile) -> None:
            render(rows)
            check(rows)

        self._next_files.prepare(job, Path(command.path), self._settings, then=make_ready)

    def _drop_order(self, job_id: str) -> None:
        """Skip a job without a step that was ordered but not started (as while paused)."""
        if self._order and self._order.job.id == job_id:
            job, self._order = self._order.job, None
            self._end_unopened(job, Outcome.SKIPPED, "skipped on request", FaultKind.REQUEST)

    def _return_order(self, job_id: str) -> None:
        """Preempt a job at once that was ordered but not started."""
        if self._order and self._order.job.id == job_id:
            self._order = None
            cursor = self.progress.cursors.get(job_id)
            self._report_preempted(job_id, steps=cursor.step if cursor else 0)

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self._reporter.section = "paused"
            self._reporter.event(Held(global_step=self.progress.global_step))
            self._save(wait=True)  # whoever pauses may be about to switch the machine off

    def _resume(self) -> None:
        self._paused = False
        if self._held:
            self._held = False
            self._reporter.event(Continued())

    def _may_go_on(self, job_id: str) -> bool:
        """Obey what has come in, hold while paused; False when this job gets no further step now."""
        self._obey_all()
        while self._paused and not self._must_leave(job_id):
            self._hold()
            if self._paused and not self._must_leave(job_id):  # else that came while its save waited for room
                self._obey(self._commands.get(None))
        return not self._must_leave(job_id)

    def _is_undisturbed(self, job_id: str) -> bool:
        """Obey what has come in; False when somebody waits for what is being done besides training to end."""
        self._obey_all()
        return not self._paused and not self._must_leave(job_id)

    def _obey_all(self) -> None:
        while (command := self._commands.get(0)) is not None:
            self._obey(command)

    def _must_leave(self, job_id: str) -> bool:
        return self._stopping or job_id in (self._skipped_job, self._job_to_preempt)

    # ---- one job

    def _train(self, order: StartJob) -> Iterator[StepBundle]:
        try:
            yield from self._train_file(order)
        except (UnusableReplay, BrokenProfile):
            self._save(wait=True)  # else the next worker, which will stumble too, would repeat all of it
            raise

    def _train_file(self, order: StartJob) -> Iterator[StepBundle]:
        opened = self._open(order)
        if opened is None:
            return
        try:
            ended = yield from self._take_steps(opened)
            if ended:
                self._end(opened, *ended)
            else:
                self._save(wait=True)  # with its cursor: after a crash nothing may run in another order
                if not self._stopping:
                    self._report_preempted(opened.job.id, steps=opened.cursor.step)
        except BrokenModel as error:
            raise NotFinite(str(error), opened.trained_here()) from error

    def _take_steps(self, opened: OpenJob) -> Generator[StepBundle, None, tuple[Outcome, str | None] | None]:
        """Yield the job's steps; return how it ended, None when it is to continue another time."""
        bundles = opened.bundles()
        try:
            self._reporter.section = "training"
            while True:
                asked = self._clock()
                bundle = next(bundles, None)
                waited_s = self._clock() - asked
                if bundle is None:
                    break
                if not self._may_go_on(opened.job.id):
                    is_skipped = self._skipped_job == opened.job.id and not self._stopping
                    return (Outcome.SKIPPED, "skipped on request") if is_skipped else None
                self._save_if_due()
                self._evaluations.before_step(opened.settings)
                self._reporter.section = "training"
                bundle.step_seed = step_seed(opened.settings.training.seed, self.progress.global_step)
                started = self._clock()
                yield bundle
                self._record(opened, bundle, seconds=self._clock() - started, waited_s=waited_s)
        except UnreadableRows as error:  # nothing wider: a disk full when saving is not the file's
            return Outcome.FAILED, str(error)
        finally:
            bundles.close()
            opened.source.close()
        return Outcome.COMPLETED, None

    def _open(self, order: StartJob) -> OpenJob | None:
        """Open a job's file and start it; None when its file cannot be trained, which is then reported."""
        job = order.job
        settings = Settings.model_validate(order.settings)
        cursor = self.progress.cursors.get(job.id)
        self._reporter.section = "preparing"
        self._data_checks.drop_others(job.id)
        if not self._gate.judge_before(order, settings):
            return None
        self._settings = settings
        try:
            rows = self._next_files.take(job, Path(order.path), settings)
            try:
                self._gate.use(job_settings(cursor, settings))
                opened = open_job(order, rows, settings, cursor, self._resources)
                before = self._check(opened, order, cursor)
            except BaseException:
                rows.close()
                raise
        except (BadRow, FileChanged, RefusedData, OSError) as error:
            if isinstance(error, OSError) and error.errno not in FAULTS_OF_A_FILE:
                raise  # such as a disk that cannot be read
            self._end_unopened(job, Outcome.FAILED, str(error), FaultKind.BAD_DATA)
            return None
        self._settings = opened.settings
        if before:
            self._gate.enter(job, opened.settings, before, admitted=order.admitted)
        self.progress.cursors[job.id] = opened.cursor
        if opened.warning:
            self._reporter.event(Notice(key="profile", message=opened.warning, job_id=job.id))
        self._reporter.event(
            JobStarted(
                job_id=job.id,
                first_step=opened.first_step,
                total_steps=opened.plan.num_steps,
                steps_per_epoch=opened.plan.steps_per_epoch,
                global_step=self.progress.global_step,
                micro_batch_tokens=opened.micro_batch_tokens if opened.is_auto else None,
            )
        )
        return opened

    def _check(self, opened: OpenJob, order: StartJob, cursor: Cursor | None) -> Measured | None:
        """Inspect a job's rows; with a gate, return what the model is before them."""
        before = self._gate.measure_before(opened.job, cursor, opened.settings)
        look_closer = partial(self._row_check.find, opened, before)
        self._data_checks.check(opened, is_admitted=order.admitted, look_closer=look_closer)
        return before

    def _record(self, opened: OpenJob, bundle: StepBundle, *, seconds: float, waited_s: float) -> None:
        progress = self.progress
        tokens = sum(len(example.token_ids) for example in bundle.examples)
        progress.global_step += 1
        progress.tokens_seen += tokens
        progress.samples_seen += len(bundle.lines) + bundle.replayed
        opened.advance(bundle)
        self._reporter.step(
            opened.report_of_step(
                bundle,
                global_step=progress.global_step,
                tokens=tokens,
                seconds=seconds,
                waited_s=waited_s,
            ),
            loss=bundle.loss if bundle.num_items else math.nan,  # the mean of nothing
            grad_norm=bundle.grad_norm,
        )
        bad = opened.bad_steps(since=bundle.index - BAD_STEPS_SPAN)
        if bundle.not_applied and len(bad) > BAD_STEPS_ALLOWED:
            self._reporter.flush()
            raise NotFinite(f"{opened.job.name}: {bundle.not_applied}", Window(first=bad[0], last=bad[-1]))
        is_wanted = partial(self._is_undisturbed, opened.job.id)
        self._evaluations.after_step(opened.settings, seconds=seconds, is_wanted=is_wanted)

    def _report_preempted(self, job_id: str, *, steps: int) -> None:
        self._job_to_preempt = None
        self._reporter.event(JobPreempted(job_id=job_id, steps=steps))

    def _end(self, opened: OpenJob, outcome: Outcome, message: str | None) -> None:
        self._engine.refuse_broken()  # now, while it is certain which file has done it
        record = opened.record(outcome, message)
        is_gated = record.steps > 0 and self._gate.holds(opened.job.id)
        if is_gated and not self._gate.judge_after(record, opened.settings):
            return
        if outcome is Outcome.COMPLETED:
            wanted = partial(self._is_undisturbed, opened.job.id)
            self._evaluations.at_end_of_file(opened.settings, is_wanted=wanted, without_validation=is_gated)
        if untrainable := opened.report_of_untrainable_rows():
            self._reporter.event(
                Notice(key=f"nothing to learn {opened.job.id}", message=untrainable, job_id=opened.job.id)
            )
        if not is_gated:
            self.progress.cursors.pop(opened.job.id, None)
            self._gate.forget_others()
        self._note_end(opened.report_of_end(record), is_gated=is_gated)

    def _end_unopened(self, job: Job, outcome: Outcome, message: str, fault: FaultKind) -> None:
        cursor = self.progress.cursors.pop(job.id, None)
        self._gate.forget_others()
        record = JobRecord(
            job_id=job.id,
            name=job.name,
            sha256=job.sha256,
            outcome=outcome,
            message=message,
            rows_trained=cursor.rows_trained if cursor else 0,
            steps=cursor.step if cursor else 0,
        )
        self._note_end(JobEnded(record=record, fault=fault, durable=record.steps == 0))

    def _note_end(self, event: JobEnded, *, is_gated: bool = False) -> None:
        self._skipped_job = self._job_to_preempt = None
        if not event.durable and not is_gated:  # else it is done when it has been judged
            self._note_done(event.record)
        self._reporter.event(event)
        if event.record.outcome is not Outcome.COMPLETED and self._saver.has_uncommitted:
            self._save(wait=True)  # somebody waits to see the file leave

    def _note_done(self, record: JobRecord) -> None:
        known = max(self.progress.ended_files, len(self.progress.finished))  # an earlier release counted none
        self.progress.ended_files = known + 1
        self.progress.finished = [*self.progress.finished, record][-FINISHED_KEPT:]
        self._saver.job_ended(record)

    # ---- saving

    def _save_if_due(self) -> None:
        try:
            self._saver.finish_if_done()
        except OSError as error:
            self._wait_for_room(error)
        if self._saver.is_due(self._settings.checkpoints):
            self._save(wait=False)

    def _save(self, *, wait: bool) -> None:
        try:
            self._saver.save(self._settings.checkpoints, wait=wait)
        except OSError as error:
            self._wait_for_room(error)

    def _save_for_gate(self) -> None:
        if self._engine.newest_checkpoint is None:
            self._saver.require()
        self._save(wait=True)

    def _wait_for_room(self, error: OSError) -> None:
        """Keep everything in memory until it can be saved.

        Raises:
            OSError: it is to leave meanwhile, and it still cannot be saved.
        """
        with self._reporter.doing("blocked"):
            self._reporter.event(Blocked(reason=why_not_saved(error)))
            while True:
                if not self._stopping:
                    self._obey(self._commands.get(SAVE_RETRY_S))
                try:
                    self._saver.save(self._settings.checkpoints, wait=True)
                except OSError as again:
                    if self._stopping:
                        raise
                    if str(again) != str(error):
                        self._reporter.event(Blocked(reason=why_not_saved(again)))
                    error = again
                else:
                    break
        self._reporter.event(Unblocked())


def step_seed(seed: int, global_step: int) -> int:
    """Return the seed of one step's dropout and NEFTune: 63 bits that depend on nothing else."""
    return int.from_bytes(hashlib.sha256(f"noise:{seed}:{global_step}".encode()).digest()[:8], "little") >> 1
