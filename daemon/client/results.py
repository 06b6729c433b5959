"""The types of the client's answers, wherever they are defined; for annotations and for `match`."""

from daemon.checkpoints.review import Damaged, Reviewed, Unusable, Whole
from daemon.client.asked_of_model import AskedOfModel
from daemon.client.average import AverageKept
from daemon.client.checkpoints import BrokenCheckpoint, Verification, WholeCheckpoint
from daemon.client.compare import Comparison
from daemon.client.completed_files import CompletedFile, PastFile, PastFiles
from daemon.client.creation import Created
from daemon.client.curves import Axis, Curve, CurvePoint, Metric
from daemon.client.data import FittingLength, ProposedLength
from daemon.client.described_settings import DescribedSetting
from daemon.client.disk import DiskUsage, Freeable
from daemon.client.dry_run import DryRun, Speed
from daemon.client.known_file import GateNote, KnownFile, KnownJob, ReportSummary
from daemon.client.life import Life, LifeBranch
from daemon.client.live_curves import LiveCurve
from daemon.client.log_entries import LogEntry
from daemon.client.marks import CheckpointMark, Marks, TrainedInSteps, VersionMark, WayBack
from daemon.client.models_next import NextStep
from daemon.client.models_now import DaemonNow, DiskNow
from daemon.client.models_report import GateVerdict, ModelsReport, Repeated, Since
from daemon.client.outlook import Outlook
from daemon.client.queue import AddedFile, FolderCounts
from daemon.client.queue_acts import ActOnFile
from daemon.client.queue_pages import ListedFile, QueueFolder, QueuePage
from daemon.client.rejected_rows import RejectedLine, RejectedPage
from daemon.client.requests import Obeyed
from daemon.client.restart import CannotGoOn, GoesOn, ImpossibleRestart, NoPlan, Restart, RestartPlan
from daemon.client.rollback import RollbackPlan
from daemon.client.row_lengths import LengthBucket, RowLengths
from daemon.client.service import Installed
from daemon.client.settings import LockedChange
from daemon.client.starting import Started
from daemon.client.trash import Cleared
from daemon.client.uploads import UploadSink, UploadState
from daemon.client.version_lines import (
    DeletedVersion,
    FileInVersions,
    RecordedSuite,
    SettingDifference,
    VersionDetails,
    VersionDifferences,
    VersionLine,
    VersionPage,
)
from daemon.client.waiting import EndedFile
from daemon.data_tools.flagged import Flagged
from daemon.diagnosis.findings import Change, Diagnosis, Finding, Illness, Measure
from daemon.files.kept import KeptUse
from daemon.health.check_result import CheckResult, Severity
from daemon.jobs.consolidation import ConsolidationPlan
from daemon.jobs.forget_plan import ForgetPlan
from daemon.jobs.going_back import AffectedFile
from daemon.jobs.listing import FinishedFile, QueuedFile
from daemon.jobs.wishes import Unfinished
from daemon.ledger.answer_records import AnswerStretch, PreviewAnswer, PromptHistory, QuestionHistory
from daemon.ledger.attempts import RecordedAttempt
from daemon.ledger.branches import RecordedBranch
from daemon.ledger.crashes import CrashGroup
from daemon.ledger.evaluation_records import PreviewHistory, PreviewText, RecordedScore, Validation
from daemon.ledger.event_stream import RecordedEvent
from daemon.ledger.file_value import FileValue
from daemon.ledger.gate_verdicts import RecordedVerdict
from daemon.ledger.job_records import RecordedJob
from daemon.ledger.marks import FileBorder, NotApplied, TrainedRows
from daemon.ledger.period import EndedOtherwise, PeriodFile, PeriodSums
from daemon.ledger.step_records import RecordedStep, StepBucket
from daemon.status.reader import Status
from trainer.config.loader import Effective
from trainer.protocol.backups import (
    BackupLine,
    BackupList,
    BackupMade,
    DrillResult,
    ForgottenInBackups,
    PrunedBackups,
    RestoredBackup,
    VerifiedBackups,
)
from trainer.protocol.data_report import DataReport
from trainer.protocol.disk import Act, CleaningPlan
from trainer.protocol.new_version import NewVersion
from trainer.protocol.places import Outcome
from trainer.protocol.show import Shown
from trainer.versions.record import SuiteScore, TrainedFile, VersionRecord
from trainer.versions.version import UnreadableVersion
from trainer.versions.version import Version as ModelVersion

__all__ = [
    "Act",
    "ActOnFile",
    "AddedFile",
    "AffectedFile",
    "AnswerStretch",
    "AskedOfModel",
    "AverageKept",
    "Axis",
    "BackupLine",
    "BackupList",
    "BackupMade",
    "BrokenCheckpoint",
    "CannotGoOn",
    "Change",
    "CheckResult",
    "CheckpointMark",
    "CleaningPlan",
    "Cleared",
    "Comparison",
    "CompletedFile",
    "ConsolidationPlan",
    "CrashGroup",
    "Created",
    "Curve",
    "CurvePoint",
    "DaemonNow",
    "Damaged",
    "DataReport",
    "DeletedVersion",
    "DescribedSetting",
    "Diagnosis",
    "DiskNow",
    "DiskUsage",
    "DrillResult",
    "DryRun",
    "Effective",
    "EndedFile",
    "EndedOtherwise",
    "FileBorder",
    "FileInVersions",
    "FileValue",
    "Finding",
    "FinishedFile",
    "FittingLength",
    "Flagged",
    "FolderCounts",
    "ForgetPlan",
    "ForgottenInBackups",
    "Freeable",
    "GateNote",
    "GateVerdict",
    "GoesOn",
    "Illness",
    "ImpossibleRestart",
    "Installed",
    "KeptUse",
    "KnownFile",
    "KnownJob",
    "LengthBucket",
    "Life",
    "LifeBranch",
    "ListedFile",
    "LiveCurve",
    "LockedChange",
    "LogEntry",
    "Marks",
    "Measure",
    "Metric",
    "ModelVersion",
    "ModelsReport",
    "NewVersion",
    "NextStep",
    "NoPlan",
    "NotApplied",
    "Obeyed",
    "Outcome",
    "Outlook",
    "PastFile",
    "PastFiles",
    "PeriodFile",
    "PeriodSums",
    "PreviewAnswer",
    "PreviewHistory",
    "PreviewText",
    "PromptHistory",
    "ProposedLength",
    "PrunedBackups",
    "QuestionHistory",
    "QueueFolder",
    "QueuePage",
    "QueuedFile",
    "RecordedAttempt",
    "RecordedBranch",
    "RecordedEvent",
    "RecordedJob",
    "RecordedScore",
    "RecordedStep",
    "RecordedSuite",
    "RecordedVerdict",
    "RejectedLine",
    "RejectedPage",
    "Repeated",
    "ReportSummary",
    "Restart",
    "RestartPlan",
    "RestoredBackup",
    "Reviewed",
    "RollbackPlan",
    "RowLengths",
    "SettingDifference",
    "Severity",
    "Shown",
    "Since",
    "Speed",
    "Started",
    "Status",
    "StepBucket",
    "SuiteScore",
    "TrainedFile",
    "TrainedInSteps",
    "TrainedRows",
    "Unfinished",
    "UnreadableVersion",
    "Unusable",
    "UploadSink",
    "UploadState",
    "Validation",
    "Verification",
    "VerifiedBackups",
    "VersionDetails",
    "VersionDifferences",
    "VersionLine",
    "VersionMark",
    "VersionPage",
    "VersionRecord",
    "WayBack",
    "Whole",
    "WholeCheckpoint",
]
