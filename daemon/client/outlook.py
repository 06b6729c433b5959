"""How much waits in the queue, and how long that will probably take."""

import json
from contextlib import suppress
from dataclasses import dataclass

from daemon.client.errors import UnreadableHistory, raising
from daemon.ledger.job_records import read_waiting_sums, settings_of_job
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import Status
from trainer.protocol.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is left to be trained."""

    waiting_files: int
    """Checked and accepted; those that are still being checked are not counted."""
    waiting_rows: int
    file_s: float | None
    """Until the current file is trained; None while that is not known."""
    queue_s: float | None
    """Until all of them are, too, if they take as long for each row, in as many passes, as the current one;
    None while that is not known."""


def outlook(layout: Layout, status: Status) -> Outlook:
    """Return what is left to be trained.

    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    fields = status.fields
    with raising(UnreadableHistory, UnreadableLedger):
        files, rows = read_waiting_sums(layout.ledger_file)
        settings = settings_of_job(layout.ledger_file, str(fields.get("current_job")))
    epochs = 1
    with suppress(ValueError, KeyError, TypeError):  # of another release
        epochs = max(1, int(json.loads(settings or "")["training"]["epochs"]))
    rows_per_s = fields.get("samples_per_sec")
    file_s = fields.get("eta_s") if status.is_running else None
    queue_s = None
    if file_s is not None and rows_per_s:
        queue_s = file_s + rows * epochs / rows_per_s
    return Outlook(waiting_files=files, waiting_rows=rows, file_s=file_s, queue_s=queue_s)
