"""A worker that speaks the protocol and learns nothing. Standard library only, so that it starts in 20 ms.

    python -I -S tests/fake_worker.py --base-dir DIR --channel-fd N
    python -I -S tests/fake_worker.py --base-dir DIR --connect HOST:PORT

A row is a step. What it has "learned" lies in DIR/models/fake_progress.json.
Environment variables make it misbehave:

    FAKE_FAULT=KIND             report this fault instead of loading the model
    FAKE_JOB_FAULT=KIND         report this fault instead of training a file
    FAKE_DIE_LOADING=1          exit with code 9 instead of loading the model
    FAKE_CRASH=NAME:STEP        exit with code 13 before this step of this file
    FAKE_DIE_SKIPPING=1         exit with code 13 when told to skip a file
    FAKE_BAD=NAME               call this file bad data
    FAKE_NAN_AT=NAME:STEP,…     call the loss of these steps not finite and die, unless they are left out
    FAKE_NOT_APPLIED=NAME:STEP  take this step without changing anything
    FAKE_MEMORY=NAME:TOKENS     run out of GPU memory in this file with more tokens at once
    FAKE_BLOCK=NAME:STEP|pause  be unable to save there until DIR/go exists
    FAKE_REPORT=NAME:LEVEL      find this (warning, block) in the rows of a file, and fail it if it must
    FAKE_GATE=NAME,…:CHECKPOINT  judge these files together, and refuse them
    FAKE_DIE_JUDGING=1          exit with code 13 right after that, for the first time
    FAKE_NOTICE=TEXT            say this when a file starts
    FAKE_SLOW_TO_SKIP=1         set the file aside when told to skip it, as if that had been said before
    FAKE_HOLD=load | NAME:STEP,…  wait there until DIR/go exists; at a step commands are obeyed meanwhile
    FAKE_NAN=1                  have no finite loss
    FAKE_DEAF=1                 do not leave when told to
    FAKE_STUBBORN=1             write the stacks on SIGUSR1, and ignore SIGTERM
    FAKE_WORDS=TEXT             write this to standard error at the start
"""

import faulthandler
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

CONNECTION_LOST = 75
STOP_AT_ONCE = "stop at once"
SET_ASIDE = "set aside"


class Worker:
    def __init__(self, options):
        self.base = base = options["--base-dir"]
        self.socket = connection_by(options)
        self.unread = b""
        self.commands = []
        self.order = None
        self.paused = self.held = self.stopping = self.is_lost = self.queue_is_empty = False
        self.skipped = self.put_off = None
        self.uncommitted = []
        self.judged = []
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
                self.stopping = self.is_lost = True
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
                if os.environ.get("FAKE_SLOW_TO_SKIP"):
                    self.put_off = command["job_id"]
                else:
                    self.skipped = command["job_id"]
            case "preempt_job":
                if not os.environ.get("FAKE_SLOW_TO_SKIP"):
                    self.put_off = command["job_id"]
            case "forget_jobs":
                for job_id in command["job_ids"]:
                    self.progress["cursors"].pop(job_id, None)
            case "shut_down":
                self.stopping = not os.environ.get("FAKE_DEAF")

    # ---- working

    def load(self):
        sys.stderr.write(os.environ.get("FAKE_WORDS", ""))
        sys.stderr.flush()
        if os.environ.get("FAKE_STUBBORN"):
            faulthandler.register(signal.SIGUSR1)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert self.listen(None)["kind"] == "load_model"
        while os.environ.get("FAKE_HOLD") == "load" and not self.may_go():
            time.sleep(0.005)
        if os.environ.get("FAKE_DIE_LOADING"):
            sys.stderr.write("the model does not fit\n")
            sys.exit(9)
        if fault := os.environ.get("FAKE_FAULT"):
            self.fault(fault, "no space left")
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
                self.train(order)
            elif self.order and self.skipped == self.order["job"]["id"]:
                self.end(self.order["job"], "skipped", 0)
                self.order = None
            else:
                self.hold_if_paused()
                if self.queue_is_empty and self.uncommitted:
                    self.save()
                self.obey(None)
        self.save()
        self.tell("leaving", reason="on request")

    def train(self, order):
        job, settings = order["job"], order["settings"]
        cursor = self.progress["cursors"].get(job["id"])
        first = cursor["step"] if cursor else 0
        if fault := os.environ.get("FAKE_JOB_FAULT"):
            self.fault(fault, "no validation file")
        if os.environ.get("FAKE_BAD") == job["name"]:
            return self.end(job, "failed", 0, message="line 1 cannot be rendered", fault="bad_data")
        for file in order["replayed"]:
            if not os.path.exists(os.path.join(order["replay_folder"], file["job_id"])):
                self.fault("environment", f"{job['name']} replays rows of {file['name']}, which is gone")
        given = settings["training"]["micro_batch_tokens"]
        is_auto = given == "auto"
        at_once = order["micro_batch_tokens"] or (100 if is_auto else given)
        if self.is_refused(order, first):
            message = "all of 3 rows are too long; training_queue retry a.jsonl --admit"
            return self.end(job, "failed", 0, message=message, fault="bad_data")
        self.tell(
            "job_started",
            job_id=job["id"], first_step=first, total_steps=job["rows"], steps_per_epoch=job["rows"],
            global_step=self.progress["step"], micro_batch_tokens=at_once if is_auto else None,
        )  # fmt: skip
        if notice := os.environ.get("FAKE_NOTICE"):
            self.tell("notice", key="notice", message=notice, job_id=job["id"])
        self.run_out_of_memory(job, at_once)
        for step in range(first + 1, job["rows"] + 1):
            if any(window["first"] < step <= window["last"] + 1 for window in order["left_out"]):
                continue
            outcome = self.at_boundary(job, step)
            if outcome == STOP_AT_ONCE:
                return None
            if outcome == SET_ASIDE:
                self.save()
                return self.tell("job_preempted", job_id=job["id"], steps=step - 1)
            if outcome:
                return self.end(job, outcome, step - 1, message="skipped on request", fault="request")
            self.take_step(job, step, settings)
        names, _, checkpoint = os.environ.get("FAKE_GATE", "").rpartition(":")
        if job["name"] in names.split(","):
            return self.judge(job, names.split(","), checkpoint)
        return self.end(job, "completed", job["rows"])

    def judge(self, job, names, checkpoint):
        """Hold a file back until the last one of its group has ended; then refuse them all."""
        self.judged.append({"job_id": job["id"], "name": job["name"]})
        if job["name"] != names[-1]:
            record = {
                "job_id": job["id"], "sha256": job["sha256"], "outcome": "completed",
                "rows_trained": job["rows"], "steps": job["rows"],
            }  # fmt: skip
            return self.tell("job_ended", record=record, durable=False)
        verdict = {
            "outcome": "refused", "reason": "the loss rose by 92 %", "from_step": 6, "files": self.judged,
            "global_step": self.progress["step"], "checkpoint": checkpoint, "losses": [], "suites": [],
        }  # fmt: skip
        self.tell("gate_judged", verdict=verdict)
        died = os.path.join(self.base, "has_died")
        if os.environ.get("FAKE_DIE_JUDGING") and not os.path.exists(died):
            open(died, "x").close()
            sys.exit(13)
        while not self.stopping:
            self.obey(None)
        return None

    def at_boundary(self, job, step):
        """Return how the job ends before this step; None when it goes on."""
        place = f"{job['name']}:{step}"
        if os.environ.get("FAKE_CRASH") == place:
            sys.stderr.write(f"segmentation fault at {place}\n")
            sys.exit(13)
        if place in os.environ.get("FAKE_NAN_AT", "").split(","):
            window = {"first": step - 1, "last": step - 1}
            self.fault("nan", f"the loss is nan at {place}", left_out=window)
        self.block_at(place)
        self.obey(0)
        may_hold = place in os.environ.get("FAKE_HOLD", "").split(",")
        while True:
            if self.stopping:
                return STOP_AT_ONCE
            if self.skipped == job["id"]:
                return "skipped"
            if self.put_off == job["id"]:
                self.put_off = None
                return SET_ASIDE
            self.hold_if_paused()
            if not self.paused and (not may_hold or self.may_go()):
                return None
            self.obey(0.005)

    def is_refused(self, order, first):
        """Tell what was found in the rows; return whether they must not be trained."""
        job, admitted = order["job"], order["admitted"]
        name, _, level = os.environ.get("FAKE_REPORT", "").rpartition(":")
        if name != job["name"] or first:
            return False
        finding = {"rule": "r", "level": level, "message": "3 of 3 rows are odd", "rows": 3, "share": 1.0}
        report = {
            "file": job["name"], "sha256": job["sha256"], "job_id": job["id"], "validation": "standard",
            "rows": job["rows"], "rejected_rows": 0, "sampled_rows": job["rows"], "max_length": 8,
            "tokens": None, "over_max_length": 1.0, "supervised_share": 0.5, "rows_without_target": 0,
            "duplicate_rows": 0, "classes": {}, "findings": [finding], "is_admitted": admitted,
        }  # fmt: skip
        self.tell("data_checked", job_id=job["id"], report=report)
        return level == "block" and not admitted

    def run_out_of_memory(self, job, tokens):
        name, _, limit = os.environ.get("FAKE_MEMORY", "").rpartition(":")
        if name == job["name"] and tokens > int(limit):
            self.fault("gpu_out_of_memory", f"{tokens} tokens at once do not fit")

    def fault(self, fault, message, **fields):
        self.tell("faulted", fault=fault, error_class="FakeFault", message=message, **fields)
        sys.exit(1)

    def take_step(self, job, step, settings):
        self.progress["step"] += 1
        self.progress["rows"] += 1
        self.progress["cursors"][job["id"]] = {
            "job_id": job["id"], "name": job["name"], "sha256": job["sha256"], "plan": "p", "step": step,
            "rows_trained": step, "settings": settings,
        }  # fmt: skip
        report = {
            "global_step": self.progress["step"], "job_id": job["id"], "file_step": step, "rows": 1,
            "tokens": 10, "supervised_tokens": 5, "loss": None if os.environ.get("FAKE_NAN") else 1.0 / step,
            "learning_rate": settings["training"]["learning_rate"], "grad_norm": 1.0, "seconds": 0.001,
        }  # fmt: skip
        if os.environ.get("FAKE_NOT_APPLIED") == f"{job['name']}:{step}":
            report |= {"loss": None, "not_applied": "the loss is nan", "lines": [step]}
        self.tell("steps_taken", steps=[report])
        if os.environ.get("FAKE_EVALUATION"):
            self.evaluate()

    def evaluate(self):
        step = self.progress["step"]
        score = {"rows": 2, "loss": 1.5, "exact_match": 0.5}
        self.tell("suite_scored", global_step=step, suite="sums", overall=score)
        answer = {"prompt": "Who?", "text": f"number {step}", "ended_by": "end", "seconds": 0.25}
        self.tell("preview_made", global_step=step, **answer)
        self.tell("evaluated", what="previews", global_step=step, seconds=0.25, interval_steps=8)

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
            self.block_at("pause")
            self.save()

    def block_at(self, place):
        if os.environ.get("FAKE_BLOCK") == place:
            self.tell("blocked", reason="no space left")
            while not self.may_go():
                self.obey(0.005)
            self.tell("unblocked")

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


def connection_by(options):
    if "--channel-fd" in options:
        return socket.socket(fileno=int(options["--channel-fd"]))
    sys.path.append(str(Path(__file__).parent.parent))  # it runs isolated
    from trainer.protocol.handshake import take_secret
    from trainer.protocol.tcp import connect

    return connect(options["--connect"], take_secret(None))


def run(worker):
    """Run a worker; return its exit code."""
    try:
        worker.run()
    except (BrokenPipeError, ConnectionResetError):
        return CONNECTION_LOST
    return CONNECTION_LOST if worker.is_lost else 0


if __name__ == "__main__":
    sys.exit(run(Worker(dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True)))))
