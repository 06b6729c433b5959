"""A worker that speaks the protocol and learns nothing. Standard library only, so that it starts in 20 ms.

    python -I -S tests/fake_worker.py --base-dir DIR --channel-fd N

A row is a step. What it has "learned" lies in DIR/models/fake_progress.json.
Environment variables make it misbehave:

    FAKE_FAULT=KIND             report this fault instead of loading the model
    FAKE_DIE_LOADING=1          exit with code 9 instead of loading the model
    FAKE_CRASH=NAME:STEP        exit with code 13 before this step of this file
    FAKE_DIE_SKIPPING=1         exit with code 13 when told to skip a file
    FAKE_BAD=NAME               call this file bad data
    FAKE_HOLD=load | NAME:STEP  wait there until DIR/go exists; at a step commands are obeyed meanwhile
    FAKE_NAN=1                  have no finite loss
    FAKE_DEAF=1                 do not leave when told to
"""

import json
import os
import select
import socket
import sys
import time

STOP_AT_ONCE = "stop at once"


class Worker:
    def __init__(self, base, descriptor):
        self.base = base
        self.socket = socket.socket(fileno=descriptor)
        self.unread = b""
        self.commands = []
        self.order = None
        self.paused = self.held = self.stopping = self.queue_is_empty = False
        self.skipped = None
        self.uncommitted = []
        self.memory = os.path.join(base, "models", "fake_progress.json")
        self.progress = {"step": 0, "rows": 0, "cursors": {}, "finished": []}
        if os.path.exists(self.memory):
            with open(self.memory) as file:
                self.progress = json.load(file)
        self.saved_step = self.progress["step"]

    # ---- talking

    def tell(self, kind, **fields):
        self.socket.sendall(json.dumps({"kind": kind, **fields}).encode() + b"\n")

    def listen(self, timeout_s):
        """Return the next command; None when none came."""
        if not self.commands:
            if not select.select([self.socket], [], [], timeout_s)[0]:
                return None
            chunk = self.socket.recv(65536)
            if not chunk:
                self.stopping = True
                return None
            *lines, self.unread = (self.unread + chunk).split(b"\n")
            self.commands += [json.loads(line) for line in lines]
        return self.commands.pop(0) if self.commands else None

    def obey(self, timeout_s):
        command = self.listen(timeout_s)
        match command and command["kind"]:
            case "start_job":
                self.order, self.queue_is_empty = command, False
            case "queue_empty":
                self.queue_is_empty = True
            case "pause":
                self.paused = True
            case "resume":
                self.paused = False
                if self.held:
                    self.held = False
                    self.tell("continued")
            case "skip_job":
                if os.environ.get("FAKE_DIE_SKIPPING"):
                    sys.exit(13)
                self.skipped = command["job_id"]
            case "forget_jobs":
                for job_id in command["job_ids"]:
                    self.progress["cursors"].pop(job_id, None)
            case "shut_down":
                self.stopping = not os.environ.get("FAKE_DEAF")

    # ---- working

    def load(self):
        assert self.listen(None)["kind"] == "load_model"
        while os.environ.get("FAKE_HOLD") == "load" and not self.may_go():
            time.sleep(0.005)
        if os.environ.get("FAKE_DIE_LOADING"):
            sys.stderr.write("the model does not fit\n")
            sys.exit(9)
        if fault := os.environ.get("FAKE_FAULT"):
            self.tell("faulted", fault=fault, error_class="FakeFault", message="no space left")
            sys.exit(1)
        self.tell(
            "worker_ready",
            model_name="fake", method="full", global_step=self.progress["step"], tokens_seen=0,
            samples_seen=self.progress["rows"], cursors=list(self.progress["cursors"].values()),
            finished=self.progress["finished"], checkpoint=None,
        )  # fmt: skip

    def run(self):
        self.load()
        while not self.stopping:
            if self.order and not self.paused:
                order, self.order = self.order, None
                self.train(order["job"], order["settings"])
            elif self.order and self.skipped == self.order["job"]["id"]:
                self.end(self.order["job"], "skipped", 0)
                self.order = None
            else:
                self.hold_if_paused()
                if self.queue_is_empty and self.uncommitted:
                    self.save()
                self.obey(None)
        self.save()
        self.tell("leaving", reason="told to")

    def train(self, job, settings):
        cursor = self.progress["cursors"].get(job["id"])
        first = cursor["step"] if cursor else 0
        if os.environ.get("FAKE_BAD") == job["name"]:
            return self.end(job, "failed", 0, message="line 1 cannot be rendered", fault="bad_data")
        self.tell(
            "job_started",
            job_id=job["id"], first_step=first, total_steps=job["rows"], steps_per_epoch=job["rows"],
            global_step=self.progress["step"],
        )  # fmt: skip
        for step in range(first + 1, job["rows"] + 1):
            outcome = self.at_boundary(job, step)
            if outcome == STOP_AT_ONCE:
                return None
            if outcome:
                return self.end(job, outcome, step - 1, message="skipped on request", fault="request")
            self.take_step(job, step, settings)
        return self.end(job, "completed", job["rows"])

    def at_boundary(self, job, step):
        """Return how the job ends before this step; None when it goes on."""
        place = f"{job['name']}:{step}"
        if os.environ.get("FAKE_CRASH") == place:
            sys.stderr.write(f"segmentation fault at {place}\n")
            sys.exit(13)
        self.obey(0)
        while True:
            if self.stopping:
                return STOP_AT_ONCE
            if self.skipped == job["id"]:
                return "skipped"
            self.hold_if_paused()
            if not self.paused and (os.environ.get("FAKE_HOLD") != place or self.may_go()):
                return None
            self.obey(0.005)

    def take_step(self, job, step, settings):
        self.progress["step"] += 1
        self.progress["rows"] += 1
        self.progress["cursors"][job["id"]] = {
            "job_id": job["id"], "sha256": job["sha256"], "plan": "p", "step": step, "rows_trained": step,
            "settings": settings,
        }  # fmt: skip
        report = {
            "global_step": self.progress["step"], "job_id": job["id"], "file_step": step, "rows": 1,
            "tokens": 10, "supervised_tokens": 5, "loss": None if os.environ.get("FAKE_NAN") else 1.0 / step,
            "learning_rate": settings["training"]["learning_rate"], "grad_norm": 1.0, "seconds": 0.001,
        }  # fmt: skip
        self.tell("steps_taken", steps=[report])

    def end(self, job, outcome, steps, *, message=None, fault=None):
        self.progress["cursors"].pop(job["id"], None)
        record = {
            "job_id": job["id"], "sha256": job["sha256"], "outcome": outcome, "message": message,
            "rows_trained": steps, "steps": steps,
        }  # fmt: skip
        self.tell("job_ended", record=record, fault=fault, durable=not steps)
        if steps:
            self.uncommitted.append(record)
            if outcome != "completed":
                self.save()

    def hold_if_paused(self):
        if self.paused and not self.held:
            self.held = True
            self.tell("held", global_step=self.progress["step"])
            self.save()

    def save(self):
        if not self.uncommitted and self.saved_step == self.progress["step"]:
            return
        self.saved_step = self.progress["step"]
        self.progress["finished"] += self.uncommitted
        with open(self.memory + ".tmp", "w") as file:
            json.dump(self.progress, file)
        os.replace(self.memory + ".tmp", self.memory)
        finished, self.uncommitted = self.uncommitted, []
        checkpoint = {"path": f"checkpoints/step-{self.saved_step:09}", "step": self.saved_step, "at": "now"}
        self.tell("checkpoint_published", checkpoint=checkpoint, finished=finished, seconds=0.001)

    def may_go(self):
        return os.path.exists(os.path.join(self.base, "go"))


if __name__ == "__main__":
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    try:
        Worker(options["--base-dir"], int(options["--channel-fd"])).run()
    except BrokenPipeError:
        sys.exit(0)
