"""Healthy trainings of many kinds, as a seed decides."""

import math

from tests.daemon.diagnosis.made_runs import MadeRun


def healthy_run(layout, seed):
    """Write one; the seed decides what files, curves, noise, schedule and evaluations it has."""
    draw = MadeRun(layout, seed).random  # only for the settings
    training = {
        "learning_rate": draw.choice([2e-5, 1e-4, 2.5e-3]),
        "warmup_steps": draw.choice([0, 10, 100]),
        "schedule": draw.choice(["constant_with_warmup", "constant_with_warmup", "cosine", "wsd"]),
        "method": draw.choice(["full", "full", "lora"]),
        "epochs": draw.choice([1, 1, 2, 3, 5]),
        "replay_fraction": draw.choice([0.0, 0.0, 0.25]),
    }
    run = MadeRun(layout, seed, training=training, validation={"file": "v.jsonl"})
    _Healthy(run).train()
    run.end()
    return run


class _Healthy:
    def __init__(self, run):
        self.run = run
        self.random = run.random
        self.noise = self.random.choice([0.02, 0.06, 0.12, 0.25, 0.4])
        self.start = self.random.uniform(1.2, 6.0)
        self.floor = min(1.5, self.start * self.random.uniform(0.15, 0.7))  # times at most 2 for a hard file
        self.tau = self.random.choice([15, 60, 150, 400])
        self.is_power_law = self.random.random() < 0.3
        self.norm = self.random.choice([0.2, 0.8, 3.0])
        self.norm_noise = self.random.choice([0.1, 0.25, 0.5])
        self.validates = self.random.random() < 0.8
        self.validation_noise = self.random.choice([0.001, 0.005, 0.02])
        self.interval = self.random.choice([20, 50, 100])
        self.thinks = self.random.choice([0.0, 0.0, 0.5, 1.0])
        self.wait = self.random.choice([0.0005, 0.01, 0.06])

    def train(self):
        kind = self.random.choice(["long", "long", "several", "several", "small", "short", "preempted"])
        match kind:
            case "long":
                self._file(self.random.randint(600, 3000))
            case "several":
                for _ in range(self.random.randint(2, 6)):
                    self._file(self.random.randint(150, 900))
            case "small":
                for _ in range(self.random.randint(30, 80)):
                    self._file(self.random.randint(2, 40))
            case "short":
                self._file(self.random.randint(1, 80))
            case "preempted":
                self._preempted()

    def _loss(self, step, base):
        if self.is_power_law:
            return base * max(self.floor, self.start * (1 + step) ** -0.12)
        return base * (self.floor + (self.start - self.floor) * math.exp(-step / self.tau))

    def _losses(self, steps, base, first=0, total=None):
        """Return the losses of a file. With each pass its rows are known better."""
        run, epochs = self.run, self.run.settings.training.epochs
        per_pass = (total or steps) / epochs
        known = 0.8 if run.settings.training.method == "full" else 0.9
        return [
            run.noisy(
                self._loss(run.step + number, base) * known ** int((first + number) / per_pass), self.noise
            )
            for number in range(steps)
        ]

    def _job(self, steps, **found):
        rows = max(1, math.ceil(steps / self.run.settings.training.epochs) * (8 - self._replayed))
        share = 100 * self.thinks
        duplicates = int(rows * self.random.choice([0, 0, 0.02, 0.08]))
        return self.run.file(rows=rows, duplicate_rows=duplicates, think_tag_percent=share, **found)

    @property
    def _replayed(self):
        return 2 if self.run.settings.training.replay_fraction else 0

    def _file(self, steps):
        base = self.random.uniform(0.5, 2.0)
        job = self._job(steps)
        self._steps(job, self._losses(steps, base), total=steps)
        if self.validates:
            self._validate()

    def _steps(self, job, losses, *, total):
        norms = self.run.norms(losses, base=self.norm, sigma=self.norm_noise)
        self.run.train(
            job, losses, norms=norms, waits=self.wait, total=total, replayed=self._replayed, each=self._after
        )

    def _after(self, _):
        if self.run.step % self.interval:
            return
        if self.validates:
            self._validate()
        age = 1 - math.exp(-self.run.step / 200)  # an untrained model says anything
        length = 100 * age + self.random.uniform(20, 300) * (1 - age)
        self.run.preview(length=length, thinks=self.thinks * age, sigma=0.3)
        self.run.score(length_percent=self.run.noisy(length, 0.05))

    def _validate(self):
        self.run.validate(self._loss(self.run.step, 1.1), self.validation_noise)

    def _preempted(self):
        """A file gives way to another one, and continues."""
        steps = self.random.randint(200, 800)
        base, other = self.random.uniform(0.5, 2.0), self.random.uniform(0.5, 2.0)
        job = self._job(steps)
        cut = self.random.randint(10, steps - 10)
        self._steps(job, self._losses(cut, base, total=steps), total=steps)
        urgent = self._job(150)
        self._steps(urgent, self._losses(150, other), total=150)
        rest = self._losses(steps - cut, base, first=cut, total=steps)
        self._steps(job, [loss * (1 + 0.1 * math.exp(-n / 10)) for n, loss in enumerate(rest)], total=steps)
