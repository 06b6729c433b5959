"""Send rows to Weights & Biases, online or into files that `wandb sync` uploads later.

The library hands rows to a process of its own, which stores or uploads them when it likes. So rows count as
safe only once they are found there: in the file, or at the server, whose step is the number of the row. The
curves are over `global_step`. A server ignores a row with a number that it has.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from daemon.tracking.rows import Row, Run
from daemon.tracking.tracker import NotSent, UnusableTracker, missing_package
from daemon.tracking.wandb_files import RunFile
from trainer.config.tracking_settings import WandbOptions

SERVICE = "wandb-core"
START_WITHIN_S = 60.0
LOOK_AFTER_S = 20.0  # as often as the server or the file is asked what it has
STALLED_S = 600.0


class Wandb:
    """Writes runs of one project.

    Args:
        folder: where the library keeps its files.
        before: the process that used this tracker last; None if none did.
        clock: monotonic seconds.
    Raises:
        UnusableTracker: the package is not installed, or nobody is logged in.
    """

    def __init__(
        self,
        options: WandbOptions,
        folder: Path,
        *,
        before: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        os.environ["WANDB_SILENT"] = "true"
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if options.server:
            os.environ["WANDB_BASE_URL"] = options.server
        if "wandb" not in sys.modules:
            os.environ.pop("WANDB_SERVICE", None)  # one of another process would outlive this one
        try:
            import wandb
        except ImportError as error:
            raise missing_package("wandb", "wandb", "wandb") from error
        self._wandb: Any = wandb
        self._options = options
        self._folder = folder
        self._before = before
        self._clock = clock
        self._run: Any = None
        self._id = ""
        self._sent = self._confirmed = 0
        self._looked_at = self._arrived_at = float("-inf")
        self._files: dict[Path, RunFile] = {}
        self._in_files = 0
        if options.mode == "online" and not wandb.api.api_key:
            raise UnusableTracker(
                "tracking.wandb.mode is online, but nobody is logged in; set WANDB_API_KEY in the daemon's "
                'environment, run wandb login, or set the mode to "offline"'
            )

    def open(self, run: Run) -> None:
        """Start a run, or continue it."""
        self._abandon()
        self._wait_for_service()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._id = run.id
        self._wait_for_own_folder()
        self._files, self._in_files = {}, 0
        with self._noticing_failure():
            self._run = self._wandb.init(
                project=self._options.project,
                entity=self._options.entity,
                id=run.id,
                name=run.name,
                group=f"{self._options.name}-{run.lineage}",
                config={"lineage": run.lineage, "branch": run.branch, "from_step": run.from_step},
                notes=f"continues {run.from_run} from step {run.from_step}" if run.from_run else None,
                dir=str(self._folder),
                mode=self._options.mode,
                resume="allow",
                settings=self._settings(),
            )
            self._run.define_metric("*", step_metric="global_step")
        self._sent = self._confirmed = 0
        self._looked_at = self._arrived_at = self._clock()

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that neither a file nor the server has."""
        there = self._rows_there()
        self._sent = self._confirmed = there
        return [row for row in rows if row.number > there]

    def send(self, rows: Sequence[Row]) -> None:
        """Hand rows to the library's own process."""
        with self._noticing_failure():
            for row in rows:
                if row.kind == "settings":
                    self._configure(row)
                self._run.log({**self._values_of(row), "global_step": row.step}, step=row.number, commit=True)
                self._sent = row.number

    def confirmed(self) -> int:
        """Return the number of the last row found where it belongs; looked for now and then."""
        if self._confirmed < self._sent and self._clock() - self._looked_at >= LOOK_AFTER_S:
            self._look()
        return self._confirmed

    def _look(self) -> None:
        self._looked_at = self._clock()
        there = self._rows_there()
        if there > self._confirmed:
            self._confirmed, self._arrived_at = there, self._looked_at
        elif self._options.mode == "online" and self._looked_at - self._arrived_at > STALLED_S:
            raise UnusableTracker(f"W&B has received no row for {STALLED_S:.0f} s")  # a new process may help

    def close(self) -> None:
        """Have the library store or upload all rows."""
        run, self._run = self._run, None
        if run is None:
            return
        with self._noticing_failure():
            run.finish()
        self._confirmed = self._sent

    # ---- what is there

    def _rows_there(self) -> int:
        return self._rows_in_files() if self._options.mode == "offline" else self._rows_at_server()

    def _rows_in_files(self) -> int:
        """Return the number of the last row in the run's files, one for each process that had it."""
        for path in self._folder.glob(f"wandb/offline-run-*-{self._id}/run-{self._id}.wandb"):
            file = self._files.setdefault(path, RunFile(path))
            self._in_files = max([self._in_files, *(int(row["_step"]) for row in file.new_rows())])
        return self._in_files

    def _rows_at_server(self) -> int:
        place = "/".join([self._run.entity, self._run.project, self._id])
        with self._noticing_failure():
            return int(self._wandb.Api(timeout=int(START_WITHIN_S)).run(place).lastHistoryStep)

    # ---- the library

    def _settings(self) -> Any:
        return self._wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            init_timeout=START_WITHIN_S,
            save_code=False,
            silent=True,
            x_disable_meta=True,
            x_disable_stats=True,
        )

    def _configure(self, row: Row) -> None:
        self._run.config.update(json.loads(row.text), allow_val_change=True)

    def _values_of(self, row: Row) -> dict[str, Any]:
        match row.kind:
            case "metrics":
                return dict(row.values)
            case "answer":
                table = self._wandb.Table(
                    columns=["step", "prompt", "answer"], data=[[row.step, row.name, row.text]]
                )
                return {f"previews/{row.name[:100]}": table}
            case "settings":
                return {"notes/settings": row.text}
            case _:
                return {f"notes/{row.name}": row.text}

    def _abandon(self) -> None:
        """Forget a run with which something has failed; the file that it has written stays."""
        run, self._run = self._run, None
        if run is not None:
            with suppress(Exception):
                run.finish(exit_code=1)

    def _wait_for_service(self) -> None:
        """Let the library's process end that a killed one has left: it still writes what it was given."""
        deadline = self._clock() + START_WITHIN_S
        while self._before is not None and self._clock() < deadline:
            left = [process for process in psutil.process_iter(["name"]) if _serves(process, self._before)]
            if not left:
                break
            psutil.wait_procs(left, timeout=max(0.0, deadline - self._clock()))
        self._before = None

    def _wait_for_own_folder(self) -> None:
        """Let the second pass in which the run was last opened: its folder's name has the second."""
        while any(self._folder.glob(f"wandb/*run-{time.strftime('%Y%m%d_%H%M%S')}-{self._id}")):
            time.sleep(0.05)

    @contextmanager
    def _noticing_failure(self) -> Iterator[None]:
        try:
            yield
        except NotSent:
            raise
        except Exception as error:  # the library has errors of many kinds, and those of the network
            raise NotSent(f"W&B ({self._options.mode}): {type(error).__name__}: {error}") from None


def _serves(process: psutil.Process, pid: int) -> bool:
    """Whether it is the library's process for a process."""
    with suppress(psutil.Error):
        words = process.cmdline() if process.info["name"] == SERVICE else []
        return str(pid) in words or f"--pid={pid}" in words
    return False
