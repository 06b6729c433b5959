"""What the ledger knows, beside a running daemon or without one. Changes nothing."""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from daemon.client.errors import NoSuchFile, UnreadableHistory, raising
from daemon.ledger.event_stream import RecordedEvent, newest_event_id, read_events, read_job_events
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.completed_files import CompletedFile, PastFiles
    from daemon.client.curves import Curve, Metric
    from daemon.client.known_file import KnownFile
    from daemon.ledger.answer_records import PromptHistory, QuestionHistory
    from daemon.ledger.attempts import RecordedAttempt
    from daemon.ledger.branches import RecordedBranch
    from daemon.ledger.crashes import CrashGroup
    from daemon.ledger.evaluation_records import PreviewHistory, PreviewText, RecordedScore, Validation
    from daemon.ledger.file_value import FileValue
    from daemon.ledger.gate_verdicts import RecordedVerdict
    from daemon.ledger.job_records import RecordedJob
    from daemon.ledger.step_records import RecordedStep, StepBucket

PAGE = 1_000
PICTURE_POINTS = 500
CRASHES_READ = 1_000


class History:
    """The ledger of one working directory. Where there is none yet, everything is empty.

    All of it raises UnreadableHistory if the ledger cannot be read.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ledger = layout.ledger_file

    # ---- what happened

    def events(self, *, after: int = 0, limit: int = PAGE) -> list[RecordedEvent]:
        """Return the first events after the one numbered `after`, oldest first.

        Who keeps the number of the last one gets none twice, across restarts, too. A damaged ledger is
        replaced by one that counts from 1; `daemon.journal.followers` notices that, and what was lost.
        """
        with raising(UnreadableHistory, UnreadableLedger):
            return read_events(self._ledger, after=after, limit=limit)

    def events_of(self, job_id: str, *, limit: int = PAGE) -> list[RecordedEvent]:
        """Return the newest `limit` events of a job, oldest first."""
        with raising(UnreadableHistory, UnreadableLedger):
            return read_job_events(self._ledger, job_id, limit=limit)

    def newest_event_id(self) -> int:
        """Return the number of the newest event; 0 without one."""
        with raising(UnreadableHistory, UnreadableLedger):
            return newest_event_id(self._ledger)

    def newest_step(self) -> int:
        """Return the number of the last step in the ledger; 0 without one."""
        from daemon.ledger.step_records import newest_step

        with raising(UnreadableHistory, UnreadableLedger):
            return newest_step(self._ledger)

    def crashes(self, *, limit: int = CRASHES_READ, since: str = "") -> "list[CrashGroup]":
        """Return the newest `limit` crashes of workers by kind, and ends that blocked training, likewise.

        The kind of the newest one comes first.

        Args:
            since: only those from this time on; UTC, ISO 8601.
        """
        from daemon.ledger.crashes import read_crashes

        with raising(UnreadableHistory, UnreadableLedger):
            return read_crashes(self._ledger, limit=limit, since=since)

    def gate_verdicts(self, *, file: str | None = None, limit: int = PAGE) -> "list[RecordedVerdict]":
        """Return the newest `limit` verdicts of the gate, the newest first.

        Args:
            file: only those on the newest job of a file of this name, or on the job with this id.
        Raises:
            NoSuchFile: the ledger has no job of such a file.
        """
        from daemon.ledger.gate_verdicts import read_verdicts
        from daemon.ledger.job_records import find_job, find_job_named

        with raising(UnreadableHistory, UnreadableLedger):
            if file is None:
                return read_verdicts(self._ledger, limit=limit)
            job = find_job(self._ledger, file) or find_job_named(self._ledger, file)
            if job is not None:
                return read_verdicts(self._ledger, job_id=job.id, limit=limit)
        raise NoSuchFile(
            f"no file named {printable(file)} was accepted; expected a name as training_queue history shows"
        )

    # ---- what was trained

    def jobs(
        self, *, before: str | None = None, limit: int = PAGE, state: str | None = None
    ) -> "list[RecordedJob]":
        """Return jobs, the newest first.

        Args:
            before: id of the last job of the page before; None for the first page.
            state: only jobs in it; None for all.
        """
        from daemon.ledger.job_records import read_page_of_jobs

        with raising(UnreadableHistory, UnreadableLedger):
            return read_page_of_jobs(self._ledger, before=before, limit=limit, state=state)

    def job(self, job_id: str) -> "RecordedJob | None":
        """Return a job by its id; None if the ledger does not know it."""
        from daemon.ledger.job_records import find_job

        with raising(UnreadableHistory, UnreadableLedger):
            return find_job(self._ledger, job_id)

    def job_ids_of(self, name: str) -> list[str]:
        """Return the ids of all jobs whose file had this name, as it is or as it is shown; newest first."""
        from daemon.ledger.job_records import job_ids_named

        with raising(UnreadableHistory, UnreadableLedger):
            return job_ids_named(self._ledger, name)

    def attempts(self, job_id: str) -> "list[RecordedAttempt]":
        """Return the tries at a job, the first one first."""
        from daemon.ledger.attempts import read_attempts

        with raising(UnreadableHistory, UnreadableLedger):
            return read_attempts(self._ledger, job_id)

    def file(self, name: str) -> "KnownFile":
        """Return all that is known of a file, wherever it is and whatever became of it.

        Args:
            name: as a list of the queue shows it, also with its folder, or a job id.
        Raises:
            NoSuchFile: nobody knows it.
            AmbiguousName: several files may be meant.
        """
        from daemon.client.known_file import known_file

        with raising(UnreadableHistory, UnreadableLedger):
            return known_file(self._layout, name)

    def completed(self, *, limit: int = PAGE) -> "list[CompletedFile]":
        """Return the files that were completed last, the last one first."""
        from daemon.client.completed_files import completed_files

        with raising(UnreadableHistory, UnreadableLedger):
            return completed_files(self._layout, limit=limit)

    def past(
        self,
        *,
        states: Collection[Outcome] = tuple(Outcome),
        after: str = "",
        limit: int = PAGE,
        search: str = "",
    ) -> "PastFiles":
        """Return the files that have ended, the last one first.

        Args:
            states: only those that ended so.
            after: `next` of the page before; "" for the first page.
            search: only files with this in their names, whatever the case of its letters.
        """
        from daemon.client.completed_files import past_files

        with raising(UnreadableHistory, UnreadableLedger):
            return past_files(self._layout, states=states, after=after, limit=limit, search=search)

    def count_completed(self) -> int:
        """Return how many files have been completed so far."""
        from daemon.ledger.completions import count_completions

        with raising(UnreadableHistory, UnreadableLedger):
            return count_completions(self._ledger)

    def value_of(self, name: str) -> "FileValue":
        """Return what training a file achieved.

        Args:
            name: as a list of the queue shows it, also with its folder, or a job id.
        Raises:
            NoSuchFile: it never became a job.
        """
        from daemon.ledger.file_value import NOT_ENDED, NotInLedger, file_value

        try:
            with raising(UnreadableHistory, UnreadableLedger):
                found = file_value(self._ledger, self._job_in_folder(name) or name)
        except NotInLedger as error:
            raise NoSuchFile(self._why_untrained(name) or str(error)) from error
        if found.state in NOT_ENDED:  # and without a daemon, the ledger does not follow the folders
            return replace(found, state=self.file(found.job).state)
        return found

    def _job_in_folder(self, name: str) -> str | None:
        """Return the job of the file in this folder; None if the name has none, or nothing is known there.

        Raises:
            NoSuchFile: the file there has no job.
        """
        if "/" not in name:
            return None
        try:
            known = self.file(name)
        except NoSuchFile:
            return None
        if known.job is None and (reason := self._why_untrained(name)):
            raise NoSuchFile(reason)
        return known.job.id if known.job else None

    def _why_untrained(self, name: str) -> str | None:
        """Say why a file that never became a job has brought nothing; None if it did not fail either."""
        from daemon.jobs.listing import find_named, finished_file

        for outcome in (Outcome.FAILED, Outcome.SKIPPED):
            for path in find_named([self._layout.finished(outcome)], name):
                reason = finished_file(self._layout, outcome, path.name).reason or "the reason is unknown"
                place = printable(f"queue/{path.parent.name}/{path.name}")
                return f"{place} was never trained: {reason}"
        return None

    # ---- steps

    def steps(self, *, after: int = 0, limit: int = PAGE, job_id: str | None = None) -> "list[RecordedStep]":
        """Return the first steps after the global step `after`.

        Args:
            job_id: only steps of this job; None for all.
        """
        from daemon.ledger.step_records import read_steps

        with raising(UnreadableHistory, UnreadableLedger):
            return read_steps(self._ledger, after=after, limit=limit, job_id=job_id)

    def steps_for_picture(
        self, max_points: int = PICTURE_POINTS, *, job_id: str | None = None, last: int | None = None
    ) -> "list[StepBucket]":
        """Return steps, summed up to at most `max_points` stretches, with least and greatest values.

        Args:
            job_id: only steps of this job; None for all.
            last: only so many, the newest ones; None for all.
        """
        from daemon.ledger.step_records import read_step_buckets

        with raising(UnreadableHistory, UnreadableLedger):
            return read_step_buckets(self._ledger, max_points=max_points, job_id=job_id, last=last)

    def curve(
        self,
        metric: "Metric",
        *,
        max_points: int = PICTURE_POINTS,
        file: str | None = None,
        last: int | None = None,
    ) -> "Curve":
        """Return how a metric has changed, with the least and the greatest value of each stretch of steps.

        Args:
            file: only steps of this file, as `value_of` takes it; None for all.
            last: only so many steps, the newest ones; None for all.
        Raises:
            NoSuchFile: it never became a job.
        """
        from daemon.client.curves import read_curve

        value = self.value_of(file) if file is not None else None
        with raising(UnreadableHistory, UnreadableLedger):
            return read_curve(self._ledger, metric, max_points=max_points, value=value, last=last)

    # ---- evaluations

    def validations(self, *, after: int = -1, limit: int = PAGE) -> "list[Validation]":
        """Return the first validation losses after the global step `after`; step 0 is the untrained model."""
        from daemon.ledger.evaluation_records import read_validations

        with raising(UnreadableHistory, UnreadableLedger):
            return read_validations(self._ledger, after=after, limit=limit)

    def suite_scores(self, *, after: int = 0, limit: int = PAGE) -> "list[RecordedScore]":
        """Return the first scores of suites after the global step `after`."""
        from daemon.ledger.evaluation_records import read_scores

        with raising(UnreadableHistory, UnreadableLedger):
            return read_scores(self._ledger, after=after, limit=limit)

    def previews(self) -> "list[PreviewHistory]":
        """Return what the model answers to each fixed prompt, the one answered last first."""
        from daemon.ledger.evaluation_records import read_previews

        with raising(UnreadableHistory, UnreadableLedger):
            return read_previews(self._ledger)

    def preview_texts(self, prompt: str, *, limit: int = PAGE) -> "list[PreviewText]":
        """Return the newest `limit` texts that a fixed prompt was answered with, the newest first."""
        from daemon.ledger.evaluation_records import read_preview_texts

        with raising(UnreadableHistory, UnreadableLedger):
            return read_preview_texts(self._ledger, prompt, limit=limit)

    def questions(
        self, *, suite: str | None = None, after: int = 0, limit: int = PAGE
    ) -> "list[QuestionHistory]":
        """Return the first questions of suites after the one numbered `after`, with their answers over time.

        Args:
            suite: only questions of this one; None for all.
        """
        from daemon.ledger.answer_records import read_questions

        with raising(UnreadableHistory, UnreadableLedger):
            return read_questions(self._ledger, suite=suite, after=after, limit=limit)

    def prompts(self, *, most_answers: int = PAGE) -> "list[PromptHistory]":
        """Return each fixed prompt with its newest `most_answers` answers, oldest first."""
        from daemon.ledger.answer_records import read_prompts

        with raising(UnreadableHistory, UnreadableLedger):
            return read_prompts(self._ledger, most_answers=most_answers)

    # ---- the model's life

    def branches(self) -> "list[RecordedBranch]":
        """Return how often the model went back, oldest first."""
        from daemon.ledger.branches import read_branches

        with raising(UnreadableHistory, UnreadableLedger):
            return read_branches(self._ledger)
