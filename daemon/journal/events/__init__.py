"""Every event of the journal: what happens is recorded once, and log, status and ledger follow.

An event has facts. Its class says what else it means: the word for it in the ledger (`kind`), how serious it
is, and which alert it shows or clears. `docs/EVENTS.md` is made from this file.
"""

from daemon.journal.events.base import FileEvent, JournalEvent
from daemon.journal.events.of_files import (
    FileAccepted,
    FileMoved,
    FileRefused,
    FileRemoved,
    FileSkipped,
    IntakeDelayed,
)
from daemon.journal.events.of_jobs import (
    JobFinished,
    JobGivenUp,
    JobReopened,
    MicroBatchHalved,
    RowsInspected,
    StepNotApplied,
    StepsLeftOut,
    TrainingEnded,
    TrainingFailed,
    TrainingPreempted,
    TrainingStarted,
)
from daemon.journal.events.of_the_daemon import (
    CommandAnswered,
    DaemonStarted,
    DaemonStopped,
    RequestNotRemoved,
    SettingsChanged,
    SettingsRefused,
    StopRequested,
    TrainingBlocked,
    TrainingUnblocked,
    TurnFailed,
    WorkerBlocked,
)
from daemon.journal.events.of_the_worker import (
    CheckpointSaved,
    ModelLoaded,
    WorkerCrashed,
    WorkerFailed,
    WorkerLeft,
    WorkerNotFinite,
    WorkerNotice,
    WorkerStarted,
)

__all__ = [
    "CheckpointSaved",
    "CommandAnswered",
    "DaemonStarted",
    "DaemonStopped",
    "FileAccepted",
    "FileEvent",
    "FileMoved",
    "FileRefused",
    "FileRemoved",
    "FileSkipped",
    "IntakeDelayed",
    "JobFinished",
    "JobGivenUp",
    "JobReopened",
    "JournalEvent",
    "MicroBatchHalved",
    "ModelLoaded",
    "RequestNotRemoved",
    "RowsInspected",
    "SettingsChanged",
    "SettingsRefused",
    "StepNotApplied",
    "StepsLeftOut",
    "StopRequested",
    "TrainingBlocked",
    "TrainingEnded",
    "TrainingFailed",
    "TrainingPreempted",
    "TrainingStarted",
    "TrainingUnblocked",
    "TurnFailed",
    "WorkerBlocked",
    "WorkerCrashed",
    "WorkerFailed",
    "WorkerLeft",
    "WorkerNotFinite",
    "WorkerNotice",
    "WorkerStarted",
]
