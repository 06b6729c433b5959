"""The fake worker with two more habits of the real one.

Its checkpoints carry the reports of their steps, from which a daemon that was killed learns what it missed;
so the ledger can be checked step by step. And a disk that fails is the environment's fault, not the file's.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # it runs isolated, so that it starts in 20 ms

import fake_worker


class RememberingWorker(fake_worker.Worker):
    def tell(self, kind, **fields):
        reports = self.progress.setdefault("reports", [])
        if kind == "steps_taken":
            reports += fields["steps"]
        elif kind == "worker_ready":
            fields["recent_steps"] = reports
        super().tell(kind, **fields)


if __name__ == "__main__":
    worker = RememberingWorker(dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True)))
    try:
        sys.exit(fake_worker.run(worker))
    except OSError as error:
        worker.tell("faulted", fault="environment", error_class="OSError", message=str(error))
        sys.exit(1)
