"""Made trainings, written as a daemon writes them: realistic curves with noise, from a fixed seed."""

import json
import math
import random

from daemon.files.identity import identity_of
from daemon.ledger.ledger import Ledger
from daemon.status.data_reports import write_report
from tests.daemon.cli.test_training_data_report import report
from tests.support import FakeClock, job_for, write_jsonl
from trainer.config.schema import Settings
from trainer.protocol.job import Outcome
from trainer.protocol.messages import PreviewMade, Score, StepReport, SuiteScored, Validated

ROWS_PER_STEP = 8


class MadeRun:
    """A training that is made up file by file.

    Args:
        sections: settings as in config.json.
    """

    def __init__(self, layout, seed, **sections):
        self.layout = layout
        self.random = random.Random(seed)
        self.sections = {"training": {}} | sections
        self.ledger = Ledger(layout.ledger_file, clock=FakeClock(1_000_000_000.0))
        self.step = 0
        self.jobs = []
        self.taken = {}

    @property
    def settings(self):
        return Settings.model_validate(self.sections)

    def end(self):
        self.layout.config_file.write_text(json.dumps(self.sections))
        self.ledger.close()

    # ---- curves

    def noisy(self, value, sigma):
        return value * math.exp(self.random.gauss(0, sigma))

    def falling(self, steps, *, start=4.0, floor=1.0, tau=100.0, sigma=0.08, first=0):
        """Return losses that near a floor as most do."""
        return [
            self.noisy(floor + (start - floor) * math.exp(-(first + number) / tau), sigma)
            for number in range(steps)
        ]

    def norms(self, losses, *, base=1.0, sigma=0.25, follows=0.5):
        """Return gradient norms that follow the losses somewhat."""
        return [self.noisy(base * (loss / losses[0]) ** follows, sigma) for loss in losses]

    def rate(self, number, steps):
        """Return the learning rate of a step of a file, as the schedules have it."""
        training = self.training
        warm = min(1.0, (self.step + 1) / max(1, training.warmup_steps))
        part = number / steps
        factor = 1.0
        if training.schedule == "cosine":
            factor = (1 + math.cos(math.pi * part)) / 2
        elif training.schedule == "wsd" and part > 1 - training.decay_fraction:
            factor = (1 - part) / training.decay_fraction
        return training.learning_rate * warm * factor

    # ---- what happens

    def file(self, *, rows=100_000, name=None, content=None, **found):
        """Accept a file; return its job.

        Args:
            content: number that tells files with different content; its own if it is None.
            found: what the report on its rows says.
        """
        number = len(self.jobs) + 1
        name = name or f"file{number}.jsonl"
        path = write_jsonl(self.layout.finished(Outcome.COMPLETED) / name, [{"content": content or number}])
        job = job_for(path, id=f"20260101-000000-{number:06}", rows=rows)
        self.ledger.add_job(job, identity_of(path.stat()), "processing")
        settings = self.settings.model_dump(mode="json")
        self.ledger.freeze_settings(job.id, {key: settings[key] for key in ("training", "data", "profile")})
        update = {"job_id": job.id, "rows": rows, "file": name, "findings": ()} | found
        write_report(self.layout, job.id, report().model_copy(update=update))
        self.jobs.append(job)
        return job

    def train(self, job, losses, *, norms=None, waits=0.001, total=None, replayed=0, each=None):
        """Take a step for each loss.

        Args:
            waits: share of a step's time that it waits for rows, besides.
            total: steps of the whole file, for the schedule.
            each: called after each step with its number in these.
        """
        norms = norms or self.norms(losses)
        total = total or len(losses)
        self.training = self.settings.training
        steps = []
        for number, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            self.step += 1
            self.taken[job.id] = file_step = self.taken.get(job.id, 0) + 1
            time = self.noisy(0.5, 0.1)
            is_first = file_step == 1
            steps.append(
                StepReport(
                    global_step=self.step, job_id=job.id, file_step=file_step,
                    rows=ROWS_PER_STEP - replayed, tokens=2000, supervised_tokens=1000,
                    loss=loss, learning_rate=self.rate(file_step - 1, total), grad_norm=norm,
                    seconds=time, replayed=replayed,
                    waited_s=2.0 if is_first else time * self.noisy(waits, 0.5),
                )
            )  # fmt: skip
            if each:
                each(number)
        self.ledger.add_steps(steps)

    def validate(self, loss, sigma=0.005, rows=200):
        self.ledger.add_validation(Validated(global_step=self.step, loss=self.noisy(loss, sigma), rows=rows))

    def score(self, *, rows=50, **metrics):
        overall = Score(rows=rows, loss=1.0, exact_match=0.5, metrics=metrics)
        self.ledger.evaluations.add_scores(SuiteScored(global_step=self.step, suite="sums", overall=overall))

    def preview(self, *, length=None, thinks=0.0, cut=0.0, number=8, sigma=0.1):
        """Answer the prompts once.

        Args:
            length: percent of the expected; None for prompts without an expected answer.
            thinks: share of answers with think tags.
            cut: share of answers that have all tokens they may have.
        """
        for prompt in range(number):
            tags = "<think>so</think>" if self.random.random() < thinks else ""
            self.ledger.evaluations.add_preview(
                PreviewMade(
                    global_step=self.step,
                    prompt=f"prompt {prompt}",
                    text=f"{tags}an answer",
                    ended_by="tokens" if self.random.random() < cut else "end",
                    seconds=1.0,
                    metrics={} if length is None else {"length_percent": self.noisy(length, sigma)},
                )
            )
