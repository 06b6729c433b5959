"""Compare two versions: what they are recorded with, and what both do with the same rows and prompts."""

import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daemon.client.errors import CannotCompare
from daemon.client.helper_process import ask
from daemon.client.models import Models, without_weights
from daemon.client.settings import ClientSettings
from daemon.client.version_lines import SettingDifference
from daemon.status.reader import read_status
from trainer.config.schema import Settings
from trainer.protocol.comparison import MODULE, Compared, CompareOrder
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import WhichWeights
from trainer.protocol.text import printable
from trainer.versions.record import SuiteScore, TrainedFile
from trainer.versions.version import Version


@dataclass(frozen=True, kw_only=True)
class WantedComparison:
    """What two versions are compared with, where that is not what the settings say."""

    rows: int | None = None
    """At most so many of the validation file; None takes `validation.max_rows`."""
    validation: Path | None = None
    """A file of rows in the place of `validation.file`."""
    prompts: Path | None = None
    """A file of prompts in the place of `previews.prompts` and `previews.file`."""


@dataclass(frozen=True, kw_only=True)
class RecordedNumbers:
    """What was measured of a version while it was the newest."""

    version: str
    global_step: int
    validation_loss: float | None
    """None if it was not measured at this very step."""
    validation_weights: WhichWeights | None
    """Whose loss it is; None where there is none, and in records of earlier releases."""
    suites: tuple[SuiteScore, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two versions differ."""

    before: RecordedNumbers
    after: RecordedNumbers
    settings: tuple[SettingDifference, ...]
    files_added: tuple[TrainedFile, ...]
    """On which, or on which steps of it, only the one after was trained."""
    files_missing: tuple[TrainedFile, ...]
    """On which, or on which steps of it, only the one before was trained."""
    measured: Compared

    @property
    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "before": _numbers_json(self.before),
            "after": _numbers_json(self.after),
            "settings": [asdict(difference) for difference in self.settings],
            "files_added": [file.model_dump(mode="json") for file in self.files_added],
            "files_missing": [file.model_dump(mode="json") for file in self.files_missing],
            "measured": self.measured.model_dump(mode="json"),
        }


class Comparisons:
    """Compares versions of one working directory; a process of its own loads them, and training goes on."""

    def __init__(self, layout: Layout, models: Models, settings: ClientSettings) -> None:
        self._layout = layout
        self._models = models
        self._settings = settings

    def compare(
        self,
        before: Version,
        after: Version,
        wanted: WantedComparison,
        *,
        on_start: Callable[[subprocess.Popen[bytes]], object] = lambda process: None,
        on_progress: Callable[[str], object] = lambda words: None,
    ) -> Comparison:
        """Return how two versions differ.

        Args:
            on_start: called with the process that compares, which another thread may ask to end.
            on_progress: called with words on how far it is.
        Raises:
            CannotCompare: there is nothing to compare them with.
            InvalidSettings: the settings are invalid.
            FileRefused: a file or a version cannot be used.
            HelperFailed: the process that compares has ended without an answer.
            UnusableVersion: a record is damaged.
        """
        for version in (before, after):
            if not version.has_weights:
                raise CannotCompare(without_weights(version))
        settings = settings_for(self._settings.effective().settings, wanted)
        order = CompareOrder(
            base_dir=self._layout.base,
            before=before.path,
            after=after.path,
            settings=settings.model_dump(mode="json"),
            daemon_runs=read_status(self._layout).is_running,
        )
        return Comparison(
            before=_numbers(before),
            after=_numbers(after),
            settings=tuple(self._models.differing_settings(before, after)),
            files_added=tuple(self._models.files_between(before, after)),
            files_missing=tuple(self._models.files_between(after, before)),
            measured=ask(MODULE, order, Compared, on_start=on_start, on_progress=on_progress),
        )


def settings_for(settings: Settings, wanted: WantedComparison) -> Settings:
    """Return settings that name the rows and prompts that are wanted.

    Raises:
        CannotCompare: they name none, or no file.
    """
    validation, previews = settings.validation, settings.previews
    for option, path in (("--validation", wanted.validation), ("--prompts", wanted.prompts)):
        if path is not None and not path.is_file():
            raise CannotCompare(f"{option}: {printable(str(path))} is not a file; expected a JSONL file")
    if wanted.validation is not None:
        validation = validation.model_copy(update={"file": str(wanted.validation.absolute())})
    if wanted.rows is not None:
        validation = validation.model_copy(update={"max_rows": wanted.rows})
    if wanted.prompts is not None:
        previews = previews.model_copy(update={"prompts": [], "file": str(wanted.prompts.absolute())})
    if not (validation.file or previews.file or previews.prompts):
        raise CannotCompare(
            "there are no rows and no prompts to compare with; expected validation.file, previews.prompts "
            "or previews.file in config.json, or one of --validation and --prompts"
        )
    return settings.model_copy(update={"validation": validation, "previews": previews})


def _numbers(version: Version) -> RecordedNumbers:
    record = version.record
    return RecordedNumbers(
        version=version.id,
        global_step=record.global_step,
        validation_loss=record.validation_loss,
        validation_weights=record.validation_weights,
        suites=record.suites,
    )


def _numbers_json(numbers: RecordedNumbers) -> dict[str, Any]:
    suites = [score.model_dump(mode="json") for score in numbers.suites]
    return asdict(numbers) | {"suites": suites}
