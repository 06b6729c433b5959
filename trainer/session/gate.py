"""The gate of a session: is the model worse than before a file, or a group of small ones?

    a file is opened   measure, if the state is a new one; make sure that a checkpoint has it
    its steps
    it ends            measure; compare. Worse: no further step, and the daemon lets the model go back.
                       Else the file is done, and its measurement is the one before the next file.

Until its verdict a job stays open, with a cursor at the end of its plan: whoever loads a checkpoint from then
is given it once more, takes no step, and comes to the same verdict.
"""

import time
from collections.abc import Callable, Sequence

from trainer.config.schema import Settings
from trainer.evaluation.regression import (
    Measured,
    compare,
    group_limit,
    in_words,
    objections,
    verdict_of,
)
from trainer.evaluation.scheduling import EvaluationSchedule
from trainer.protocol.checkpoints import DamagedCheckpoint, NoUsableCheckpoint, verify
from trainer.protocol.gate import GateVerdict, JudgedFile
from trainer.protocol.job import Cursor, Job, JobRecord, Outcome
from trainer.protocol.messages import GateJudged, StartJob
from trainer.protocol.text import num_of, printable
from trainer.reporting.reporter import Reporter
from trainer.session.gate_state import GateState, Group, Member
from trainer.session.interfaces import SessionEngine

FOLLOWS_FOR = 4
"""Times `training.average_steps` until the average has taken in what steps did that have no verdict, or were
admitted: at most a sixteenth of it is older then."""


class NoWayBack(OSError):
    """The checkpoint that the model must go back to cannot be used."""


class Gate:
    """Judges the jobs of one session.

    Args:
        save_now: publishes a checkpoint of the present state, if there is none; returns once it is durable.
        on_done: called with the record of each job that was found good.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        engine: SessionEngine,
        evaluations: EvaluationSchedule,
        reporter: Reporter,
        *,
        save_now: Callable[[], None],
        on_done: Callable[[JobRecord], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._evaluations = evaluations
        self._reporter = reporter
        self._save_now = save_now
        self._on_done = on_done
        self._clock = clock
        self.is_refused = False
        """Files were refused: no step follows until somebody has let the model go back, which ends this."""
        self._loaded: Settings | None = None  # those that the evaluator has its rows by

    @property
    def _state(self) -> GateState:
        return self._engine.gate_state

    def use(self, settings: Settings) -> None:
        """Apply a job's settings, and note that the rows have been read that are measured.

        Raises:
            BadConfig: as `SessionEngine.use` does.
        """
        self._engine.use(settings)
        self._loaded = settings

    # ---- when is something judged

    def judge_before(self, order: StartJob, settings: Settings) -> bool:
        """Judge what must be judged before a job is opened; return whether it may be."""
        due = self._due_before(order.job, settings, is_admitted=order.admitted)
        if due and settings.gate.enabled and self._loaded is None:
            self.use(settings)
        return self._pass_all(due, settings)

    def judge_after(self, record: JobRecord, settings: Settings) -> bool:
        """Judge a job that has ended, now or with others; return whether training may go on."""
        group = self._state.group_of(record.job_id)
        assert group is not None, "held, or it would not be judged"
        group.members[record.job_id].record = record
        return not self._is_due(group, record, settings) or self._pass_all([group], settings)

    def judge_rest(self, settings: Settings) -> None:
        """Judge what has waited for more files, as there are none."""
        self._pass_all(self._complete_groups(), settings)

    def _pass_all(self, groups: Sequence[Group], settings: Settings) -> bool:
        """Judge groups until one is refused; return whether none was."""
        for group in groups:
            if self.is_refused:
                return False
            verdict = self._judge(group, settings)
            self._reporter.event(GateJudged(verdict=verdict))
            self.is_refused = verdict.outcome == "refused"
            if not self.is_refused:
                self._pass_on(group, verdict, settings)
        return not self.is_refused

    # ---- which jobs belong together

    def holds(self, job_id: str) -> bool:
        """Whether a job is done only when it has been judged."""
        return self._state.group_of(job_id) is not None

    def _complete_groups(self) -> list[Group]:
        """Return the groups that wait for nothing but their verdict."""
        return [group for group in self._state.groups if group.is_complete]

    def _due_before(self, job: Job, settings: Settings, *, is_admitted: bool) -> list[Group]:
        return [
            group
            for group in self._complete_groups()
            if job.id not in group.members and not self._may_join(group, job, settings, is_admitted)
        ]

    def _may_join(self, group: Group, job: Job, settings: Settings, is_admitted: bool) -> bool:
        if not settings.gate.enabled or group.is_alone or is_admitted or job.id in self._engine.suspects:
            return False
        if job.id in self._engine.progress.cursors:
            return False  # it continues, and what it does is no fault of those that overtook it
        before = self._loaded
        if before and _what_is_measured(before) != _what_is_measured(settings):
            return False
        return self._weight(job, settings) < self._limit(group.before, settings)

    @staticmethod
    def _weight(job: Job, settings: Settings) -> int:
        return job.rows * settings.training.epochs

    @staticmethod
    def _limit(measured: Measured, settings: Settings) -> int:
        percent = settings.monitoring.max_overhead_percent
        return group_limit(measured.num_rows, settings.gate, max_overhead_percent=percent)

    # ---- a job

    def measure_before(self, job: Job, cursor: Cursor | None, settings: Settings) -> Measured | None:
        """Return what the model was before a job's group; None if that is known, or cannot be measured."""
        if not settings.gate.enabled or (cursor and cursor.step) or self.holds(job.id):
            return None
        group = self._joined()
        return group.before if group else self._measure(settings)

    def _joined(self) -> Group | None:
        """Return the group that the next job belongs to, now that those are judged that are due before it."""
        rows_id = self._engine.evaluator.rows_id
        return next((group for group in self._complete_groups() if group.before.rows_id == rows_id), None)

    def enter(self, job: Job, settings: Settings, before: Measured, *, admitted: bool) -> None:
        """Have a job judged when it has ended.

        Args:
            before: as `measure_before` returned it.
        """
        group = self._joined()
        if group is None:
            self._save_now()
            checkpoint = self._engine.newest_checkpoint
            assert checkpoint is not None, "it was just saved"
            since = self._state.since_of(before)
            group = Group(
                checkpoint=checkpoint.name,
                before=before,
                since=since,
                average_since=since + FOLLOWS_FOR * settings.training.average_steps,
                is_alone=admitted or job.id in self._engine.suspects,
                is_admitted=admitted,
            )
            self._state.groups.append(group)
        group.rows += self._weight(job, settings)
        group.members[job.id] = Member(name=printable(job.name))
        self._engine.progress.gate_checkpoints = self._state.checkpoints

    def _is_due(self, group: Group, record: JobRecord, settings: Settings) -> bool:
        """Whether a group must be judged now that one of its jobs has ended."""
        is_full = group.rows >= self._limit(group.before, settings)
        is_awaited = record.outcome is not Outcome.COMPLETED  # somebody waits to see its file leave
        wants_it = is_full or is_awaited or group.is_alone or not settings.gate.enabled
        return group.is_complete and wants_it

    def forget_others(self) -> None:
        """Forget jobs that are not open any more."""
        if not self._state.groups:
            return
        self._state.keep_only(set(self._engine.progress.cursors))
        self._engine.progress.gate_checkpoints = self._state.checkpoints

    # ---- the verdict

    def _judge(self, group: Group, settings: Settings) -> GateVerdict:
        """Compare the model with what it was before a group.

        Raises:
            NoWayBack: it is worse, and cannot go back.
        """
        started = self._clock()
        after = self._measure(self._loaded or settings) if settings.gate.enabled else None
        verdict = self._compare(group, after, settings)
        if verdict.outcome == "refused":
            self._require_way_back(verdict)
        return verdict.model_copy(update={"seconds": round(self._clock() - started, 3)})

    def _pass_on(self, group: Group, verdict: GateVerdict, settings: Settings) -> None:
        """Take a group's jobs as part of the model."""
        latest = self._state.latest
        measured = latest if latest and latest.global_step == verdict.global_step else None
        starts_anew = verdict.outcome != "passed"
        self._state.pass_on(group, measured, window=settings.gate.window, starts_anew=starts_anew)
        self._engine.progress.gate_checkpoints = self._state.checkpoints
        for job_id, member in group.members.items():
            self._engine.progress.cursors.pop(job_id, None)
            if member.record:
                self._on_done(member.record)

    def _compare(self, group: Group, after: Measured | None, settings: Settings) -> GateVerdict:
        verdict = GateVerdict(
            outcome="unjudged",
            reason=self._why_unjudged(group, after, settings),
            from_step=group.before.global_step,
            global_step=self._engine.progress.global_step,
            checkpoint=group.checkpoint,
            files=tuple(JudgedFile(job_id=key, name=member.name) for key, member in group.members.items()),
        )
        if after is None:
            return verdict
        losses, suites = compare(
            group.before,
            after,
            self._state.passed,
            settings.gate,
            since=group.since,
            average_since=group.average_since,
        )
        if not losses:
            return verdict
        found = objections(losses, suites, settings.gate)
        seen = [in_words(item) for item in losses if item.against == "before"]
        return verdict.model_copy(
            update={
                "outcome": verdict_of(found, is_admitted=group.is_admitted),
                "reason": "; ".join(found or seen),
                "losses": losses,
                "suites": suites,
            }
        )

    @staticmethod
    def _why_unjudged(group: Group, after: Measured | None, settings: Settings) -> str:
        if not settings.gate.enabled:
            return "the gate was turned off (gate.enabled)"
        if after is None:
            return "memory was too small for the rows of validation.file"
        return "the validation rows, or how they are rendered, have changed since the file began"

    def _measure(self, settings: Settings) -> Measured | None:
        """Measure the model, unless this very state was measured last."""
        latest, evaluator = self._state.latest, self._engine.evaluator
        step = self._engine.progress.global_step
        if latest and latest.global_step == step and latest.rows_id == evaluator.rows_id:
            return latest
        self._state.latest = self._evaluations.measure(settings)
        return self._state.latest

    def _require_way_back(self, verdict: GateVerdict) -> None:
        checkpoint = self._engine.newest_checkpoint
        assert checkpoint is not None, "there was one before the files"
        try:
            verify(checkpoint.with_name(verdict.checkpoint))
        except (DamagedCheckpoint, NoUsableCheckpoint) as error:
            files = num_of(len(verdict.files), "file")
            raise NoWayBack(
                f"the gate refuses {files}: {verdict.reason}; but the model cannot go back to checkpoint "
                f"{verdict.checkpoint}: {error}; restore it from a backup, or keep the model as it is: set "
                "gate.enabled to false"
            ) from error


def _what_is_measured(settings: Settings) -> tuple[object, ...]:
    weights = (settings.training.average, settings.training.preferred_weights)
    return (settings.validation, settings.data, settings.profile, settings.gate, weights)
