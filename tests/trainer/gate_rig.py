"""A session whose gate judges a model that is a number: its loss depends on the step alone."""

from pathlib import Path

from tests.support import job_for, rows, write_jsonl
from tests.trainer.session_rig import FakeEngine, settings_with, start
from trainer.evaluation.evaluator import ValidationLoss
from trainer.evaluation.regression import Measured
from trainer.protocol.messages import CheckpointPublished, GateJudged, JobEnded

ROWS = 10  # of the validation file
WORSE = 5.0


def measured(loss, global_step, *, rows_id="rows"):
    """Return a state in which the rows are a hundredth apart."""
    losses = tuple(loss + number / 100 for number in range(ROWS))
    return Measured(rows_id=rows_id, global_step=global_step, losses=losses)


class Judged(FakeEngine):
    """Has a loss of 1, and of 5 after steps on spoilt rows.

    Args:
        spoilt: steps of the model's life from which on it is worse.
        loss_at: step -> loss, instead of that.
        last_at: the same of the last weights; then the averaged ones are preferred.
    """

    def __init__(
        self, progress=None, *, spoilt=(), loss_at=None, last_at=None, folder=Path("models/checkpoints")
    ):
        super().__init__(progress)
        self.loss_at = loss_at or (lambda step: WORSE if any(step >= first for first in spoilt) else 1.0)
        self.last_at = last_at
        self.folder = folder
        self.measured_at = []
        self.rows_id = "rows:average" if last_at else "rows"
        self.states = []

    def measure(self, settings, *, global_step):
        self.measured_at.append(global_step)
        found = measured(self.loss_at(global_step), global_step, rows_id=self.rows_id)
        if self.last_at:
            found = found.model_copy(update={"last": measured(self.last_at(global_step), global_step)})
        return found, ValidationLoss(found.losses[0], ROWS)

    def row_losses(self, examples, settings):
        return []

    def suite_scores(self, settings, *, global_step, is_wanted):
        return iter(())

    def save(self, settings):
        saving = super().save(settings)
        self.newest_checkpoint = self.folder / f"step-{self.progress.global_step:09}-{len(self.saved)}"
        self.states.append((self.gate_state.model_copy(deep=True), self.newest_checkpoint))
        return saving

    def after_a_crash(self, *, number=-1):
        """Return what a new worker finds: one of the checkpoints, which was the newest one then."""
        fresh = Judged(self.saved[number], loss_at=self.loss_at, last_at=self.last_at)
        state, fresh.newest_checkpoint = self.states[number]
        fresh.gate_state = state.model_copy(deep=True)
        return fresh


def gated(**gate):
    return settings_with(
        validation={"file": "v.jsonl"}, gate={"enabled": True, "min_rows": 2, "group_rows": 1} | gate
    )


def ordered(folder, name, settings, *, steps=2, **order):
    """Return the order to train a file of two rows a step."""
    path = write_jsonl(folder / f"{name}.jsonl", rows(2 * steps, start=len(name) * 100))
    return start(job_for(path, id=name), path, settings, **order)


def verdicts(run):
    return [
        (verdict.outcome, [file.job_id for file in verdict.files])
        for verdict in (event.verdict for event in run.told(GateJudged))
    ]


def ended(run):
    return [event.record.job_id for event in run.told(JobEnded)]


def completed(run):
    return [record.job_id for event in run.told(CheckpointPublished) for record in event.finished]
