"""All that a diagnosis is made of, read once: steps, evaluations, files and the reports on their rows.

Only of the branch on which the model is: what it did on branches that it has left does not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from daemon.ledger.evaluation_records import (
    RecordedPreview,
    RecordedScore,
    Validation,
    read_answers,
    read_scores,
    read_validations,
)
from daemon.ledger.step_records import RecordedStep, read_newest_steps
from daemon.ledger.trained_files import TrainedContent, read_trained_contents
from daemon.status.data_reports import read_report
from trainer.config.schema import Settings
from trainer.protocol.data_report import DataReport
from trainer.protocol.files import UnreadableFile
from trainer.protocol.layout import Layout

STEPS_READ = 20_000  # the newest: what was before them is cured by now, or shows in them
FILES_READ = 200  # as many as there are reports
EVALUATIONS_READ = 100_000  # as many as the ledger keeps


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Steps of one file that followed each other. Only losses within one can be compared."""

    job_id: str
    name: str
    """Of the file; printable."""
    steps: Sequence[RecordedStep]
    """With finite losses."""

    @cached_property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps if step.loss is not None]

    @property
    def first_step(self) -> int:
        return self.steps[0].global_step

    @property
    def last_step(self) -> int:
        return self.steps[-1].global_step

    def after_warmup(self) -> "Stretch":
        """Return the steps from the first one on at which the learning rate is at its highest."""
        highest = max(step.learning_rate for step in self.steps)
        start = next(
            place for place, step in enumerate(self.steps) if step.learning_rate >= NEARLY_ALL * highest
        )
        return Stretch(job_id=self.job_id, name=self.name, steps=self.steps[start:])

    def between(self, after: int, until: int) -> "list[RecordedStep]":
        """Return the steps after one global step and up to another."""
        return [step for step in self.steps if after < step.global_step <= until]


NEARLY_ALL = 0.99  # of the highest learning rate: it is a product of floating-point numbers


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What was recorded of a training, oldest first."""

    settings: Settings
    """Those in force."""
    steps: Sequence[RecordedStep] = ()
    """The newest that were applied."""
    contents: Sequence[TrainedContent] = ()
    """The files that were trained last."""
    validations: Sequence[Validation] = ()
    scores: Sequence[RecordedScore] = ()
    """Of whole suites."""
    answers: Sequence[RecordedPreview] = ()
    reports: "dict[str, DataReport] | None" = None
    """On the rows of these files, by job."""

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The steps by file, in the order of training."""
        finite = [step for step in self.steps if step.loss is not None and math.isfinite(step.loss)]
        groups = groupby(finite, key=lambda step: (step.job_id, step.global_step - step.file_step))
        return [
            Stretch(job_id=job_id, name=self.name_of(job_id), steps=list(steps))
            for (job_id, _), steps in groups
        ]

    def newest_stretch(self, least_steps: int) -> Stretch | None:
        """Return the newest stretch with so many steps; None if there is none."""
        return next((found for found in self.stretches[::-1] if len(found.steps) >= least_steps), None)

    @property
    def last_step(self) -> int:
        return self.steps[-1].global_step if self.steps else 0

    def content_of(self, job_id: str) -> TrainedContent | None:
        """Return a file; None if it was trained too long ago."""
        return next((content for content in self.contents if content.job_id == job_id), None)

    def name_of(self, job_id: str) -> str:
        """Return the name of a job's file; its id if it is unknown."""
        content = self.content_of(job_id)
        return content.name if content else job_id

    def trained_with(self, job_id: str, section: str, key: str) -> Any:
        """Return a setting with which a job was started; that in force if this is not known."""
        content = self.content_of(job_id)
        known = content.settings.get(section, {}) if content else {}
        return known[key] if key in known else getattr(getattr(self.settings, section), key)

    def report_on(self, job_id: str) -> DataReport | None:
        """Return the report on a job's rows; None if there is none."""
        return (self.reports or {}).get(job_id)


def observe(layout: Layout, settings: Settings) -> Observations:
    """Read what was recorded.

    Raises:
        UnreadableLedger: the ledger cannot be read.
    """
    ledger = layout.ledger_file
    contents = read_trained_contents(ledger, limit=FILES_READ)
    scores = read_scores(ledger, after=-1, limit=EVALUATIONS_READ)
    return Observations(
        settings=settings,
        steps=read_newest_steps(ledger, limit=STEPS_READ),
        contents=contents,
        validations=read_validations(ledger, after=-1, limit=EVALUATIONS_READ),
        scores=[score for score in scores if score.difficulty is None],
        answers=read_answers(ledger),
        reports=_reports(layout, contents),
    )


def _reports(layout: Layout, contents: Sequence[TrainedContent]) -> dict[str, DataReport]:
    found = {}
    for content in contents:
        try:
            found[content.job_id] = read_report(layout, content.job_id, content.name)
        except (FileNotFoundError, UnreadableFile):
            continue  # an old one makes room for newer ones; a diagnosis needs not all of them
    return found
