"""What each subcommand of `training_models` prints with `--json`. Loaded only to describe them."""

from typing import Any

from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from daemon.client.results import (
    BackupList,
    BackupMade,
    CleaningPlan,
    Comparison,
    ConsolidationPlan,
    DiskUsage,
    DrillResult,
    FileInVersions,
    ForgetPlan,
    ModelsReport,
    PrunedBackups,
    RecordedVerdict,
    RestoredBackup,
    RollbackPlan,
    SettingDifference,
    TrainedFile,
    VerifiedBackups,
    VersionLine,
    VersionRecord,
)


class ListedVersions(TypedDict):
    """All versions that are not deleted."""

    versions: list[VersionLine]
    """Oldest first."""
    damaged: dict[str, str]
    """Those that cannot be trusted, with what is wrong; printable."""


class ShownVersion(VersionRecord):
    """Everything about a version."""

    path: str
    """Its folder, which `from_pretrained` loads."""
    has_optimizer_state: bool
    """Whether training can continue from it exactly."""
    has_weights: bool
    """Whether it can be loaded. Of a backup without its weights, only the record is restored."""
    aliases: list[str]
    tags: list[str]
    notes: list[str]
    """Oldest first."""


class CreatedVersion(TypedDict):
    """A version of a checkpoint."""

    version: str
    """Its id."""
    path: str
    is_new: bool
    """Whether the checkpoint had none before."""


class NotedVersion(TypedDict):
    """A version that a note was added to."""

    version: str
    note: str


class TaggedVersion(TypedDict):
    """A version with the tags that it has now."""

    version: str
    tags: list[str]


class AliasMeaning(TypedDict):
    """What an alias means, or meant."""

    alias: str
    version: str | None
    """Its id; null if the alias means nothing, or meant nothing then."""
    before: str | None
    """What it meant before, if it was changed."""


class LineageOfVersion(TypedDict):
    """The files that made a version."""

    version: str
    files: list[TrainedFile]
    """In the order of their first steps."""


class PlanShown(TypedDict):
    """What going back would mean."""

    plan: RollbackPlan


class WentBack(PlanShown):
    """The model went back."""

    result: str
    """In words."""


class WordsShown(TypedDict):
    """What would be done."""

    plan: str
    """In words."""


class MovedVersion(TypedDict):
    """A version that was moved to the trash, or out of it."""

    version: str
    path: str


class Consolidation(TypedDict):
    """The adapter was merged, or would be."""

    plan: ConsolidationPlan
    result: str | None
    """In words; None with `--dry-run`."""


class ForgetShown(TypedDict):
    """What forgetting a file means; nothing was changed."""

    plan: ForgetPlan


class Forgotten(ForgetShown):
    """A file that the model has forgotten."""

    result: str
    """What was done, in words."""


MODELS_OUTPUTS: dict[str, Any] = {
    "training_models list": ListedVersions,
    "training_models show": ShownVersion,
    "training_models create": CreatedVersion,
    "training_models note": NotedVersion,
    "training_models tag": TaggedVersion,
    "training_models alias": AliasMeaning,
    "training_models lineage": LineageOfVersion | FileInVersions,
    "training_models diff-config": list[SettingDifference],
    "training_models rollback": WentBack,
    "training_models rollback --dry-run": PlanShown,
    "training_models restore": WentBack,
    "training_models restore --dry-run": PlanShown,
    "training_models delete": MovedVersion,
    "training_models delete --dry-run": WordsShown,
    "training_models undelete": MovedVersion,
    "training_models report": ModelsReport,
    "training_models backup create": BackupMade,
    "training_models backup list": BackupList,
    "training_models backup verify": VerifiedBackups,
    "training_models backup restore": RestoredBackup,
    "training_models backup drill": DrillResult,
    "training_models backup prune": PrunedBackups,
    "training_models compare": Comparison,
    "training_models consolidate": Consolidation,
    "training_models forget": Forgotten,
    "training_models forget --dry-run": ForgetShown,
    "training_models disk": DiskUsage,
    "training_models gates": list[RecordedVerdict],
    "training_models gc": CleaningPlan,
}
"""The document of each subcommand."""
