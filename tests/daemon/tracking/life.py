"""A model's life as the ledger has it, and a tracker that only remembers."""

from daemon.tracking.follower import Follower
from tests.daemon.ledger.entries import step
from trainer.protocol.manifest import Branch
from trainer.protocol.messages import PreviewMade, SuiteScored, Validated


class Kill(BaseException):
    """The process is killed; nothing handles it."""


class Memory:
    """A tracker. `failures` are raised one by one; `kill_after` so many rows it is killed while it sends."""

    def __init__(self):
        self.runs = {}
        self.failures = []
        self.kill_after = None
        self.opened = []
        self.calls = 0

    def open(self, run):
        self.opened.append(run)
        self.rows = self.runs.setdefault(run.id, [])
        self.last = 0

    def missing(self, rows):
        there = {row.number for row in self.rows}
        self.last = max((row.number for row in rows if row.number in there), default=0)
        return [row for row in rows if row.number not in there]

    def send(self, rows):
        self.calls += 1
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        for row in rows:
            if self.kill_after == 0:
                self.kill_after = None
                raise Kill
            self.kill_after = self.kill_after and self.kill_after - 1
            self.rows.append(row)
            self.last = row.number

    def confirmed(self):
        return self.last

    def close(self):
        pass

    def steps(self, run=0):
        """Return the steps whose loss a run has, in the order in which they came."""
        return [row.step for row in list(self.runs.values())[run] if "train/loss" in row.values]

    def notes(self, run=0):
        return [(row.step, row.text) for row in list(self.runs.values())[run] if row.kind == "note"]


def follow(layout, tracker, *, waits=0, clock=lambda: 1_000_000_000.0, name="training", **options):
    """Send what there is to a tracker, as a new process does; return what it has waited."""
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return len(waited) <= waits

    file = layout.status / "tracking" / "tracker.json"
    Follower(layout.ledger_file, file, tracker, name, wait=wait, clock=clock, **options).run(1.0)
    return waited


def train(ledger, *numbers, job_id="1"):
    ledger.add_steps([step(number, job_id=job_id, loss=1 / number) for number in numbers])
    ledger.commit()


def crash(ledger, checkpoint):
    """Have the worker start again at a checkpoint."""
    ledger.rewind(checkpoint)
    ledger.add_event("worker_ready", "ready", None, {"global_step": checkpoint})
    ledger.commit()


def go_back(ledger, number, *, to, left, of=None, branches):
    """Have the model go back, as the daemon notes it."""
    branch = Branch(
        number=number, from_branch=number - 1 if of is None else of, from_step=to, left_step=left,
        at="2026-01-01T00:00:00.000Z", why="rollback", reason="worse", jobs=(),
    )  # fmt: skip
    branches.append(branch)
    ledger.branches.begin(branch, branches)
    data = {"branch": number, "from_step": to, "left_step": left}
    ledger.add_event("went_back", f"the model went from step {left} to step {to}", None, data)
    ledger.commit()


def evaluate(ledger, number, suite="skills"):
    ledger.add_validation(Validated(global_step=number, loss=0.5, rows=2))
    score = {"rows": 2, "loss": 0.25, "exact_match": 0.5, "metrics": {}}
    ledger.evaluations.add_scores(
        SuiteScored.model_validate(
            {"global_step": number, "suite": suite, "overall": score, "by_difficulty": {"easy": score}}
        )
    )
    ledger.evaluations.add_preview(
        PreviewMade(
            global_step=number, prompt="Say hi", text=f"hi {number}", ended_by="end", seconds=1.0, metrics={}
        )
    )
    ledger.commit()
