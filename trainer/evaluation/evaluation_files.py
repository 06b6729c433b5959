"""Read and render, before a file is touched, what the model is to be measured with."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.reading.rows import BadRow
from trainer.data.rendering.refused_rows import message_with_way_out
from trainer.data.rendering.render import Example, ExampleRenderer, learnable
from trainer.evaluation.questions import Question, QuestionMaker, read_question_rows
from trainer.evaluation.validation import load_validation_examples
from trainer.pipeline.rendering import make_renderer
from trainer.profiles.base import DataProfile
from trainer.profiles.registry import make_profile

MOST_PROMPTS = 100  # of previews.file; a round of previews has seconds

SuiteItem = tuple[Question, list[Example]]
"""A question, and the examples that its expected answer would be trained by."""


@dataclass(frozen=True)
class EvaluationSet:
    """What a job's model is measured with."""

    profile: DataProfile
    validation: list[Example] = field(default_factory=list)
    suites: Mapping[str, list[SuiteItem]] = field(default_factory=dict)
    prompts: list[Question] = field(default_factory=list)

    @cached_property
    def rows_id(self) -> str:
        """A hash of the validation rows and the suites as the model sees them."""
        digest = hashlib.sha256()
        for name, rows in [("", [self.validation]), *self._suite_rows()]:
            digest.update(
                repr((name, [[(row.token_ids, row.labels) for row in one] for one in rows])).encode()
            )
        return digest.hexdigest()

    def _suite_rows(self) -> list[tuple[str, list[list[Example]]]]:
        return [(name, [rows for _, rows in items]) for name, items in self.suites.items()]


class EvaluationFiles:
    """Reads the files that the settings name, each again only when it or the settings have changed.

    Args:
        base_dir: relative paths start here.
    """

    def __init__(self, base_dir: Path) -> None:
        self._base_dir = base_dir
        self._cached: dict[str, tuple[Any, Any]] = {}

    def load(
        self, settings: Settings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> EvaluationSet:
        """Return what `settings` want to be measured.

        Raises:
            BadConfig: a file cannot be used, or the model cannot generate.
            UnknownProfile, BadProfileOption: the profile cannot be honoured.
        """
        profile = make_profile(settings.profile.name, settings.profile.options, base_dir=self._base_dir)
        wanted, previews = settings.validation, settings.previews
        if (wanted.suites or previews.prompts or previews.file) and not model.can_generate():
            raise BadConfig(
                f'a model of type "{model.config.model_type}" cannot generate text, so it has no previews '
                "and no suites; remove validation.suites, previews.prompts and previews.file"
            )

        def validation() -> list[Example]:
            return load_validation_examples(settings, self._base_dir, tokenizer)

        return EvaluationSet(
            profile,
            self._read_once("validation.file", wanted.file, settings, profile, validation)
            if wanted.file
            else [],
            {
                name: self._suite(f"validation.suites.{name}", file, settings, profile, tokenizer)
                for name, file in wanted.suites.items()
            },
            self._prompts(settings, profile, tokenizer),
        )

    def _suite(
        self,
        setting: str,
        file: str,
        settings: Settings,
        profile: DataProfile,
        tokenizer: PreTrainedTokenizerBase,
    ) -> list[SuiteItem]:
        path = self._base_dir / file
        # A renderer of its own: that of the jobs may be rendering on another thread
        render = make_renderer(profile, ExampleRenderer(tokenizer), settings)

        def read() -> list[SuiteItem]:
            rows = read_question_rows(
                path, setting, settings.data, max_rows=settings.validation.suite_max_rows
            )
            make = QuestionMaker(settings, profile, tokenizer, setting=f"{setting} is {path}")
            try:
                return [
                    (make.of_row(row), learnable(render([(row.line_number, row.conversation)])))
                    for row in rows
                ]
            except BadRow as error:
                message = message_with_way_out(error)
                raise BadConfig(
                    f"{setting} is {path}: {message}; expected rows like those trained"
                ) from error

        found: list[SuiteItem] = self._read_once(setting, file, settings, profile, read)
        return found

    def _prompts(
        self, settings: Settings, profile: DataProfile, tokenizer: PreTrainedTokenizerBase
    ) -> list[Question]:
        wanted = settings.previews
        make = QuestionMaker(settings, profile, tokenizer, setting="previews.prompts")
        texts = [make.of_text(number, text) for number, text in enumerate(wanted.prompts, 1)]
        if wanted.file is None:
            return texts
        path = self._base_dir / wanted.file

        def read() -> list[Question]:
            rows = read_question_rows(path, "previews.file", settings.data, max_rows=MOST_PROMPTS)
            make = QuestionMaker(settings, profile, tokenizer, setting=f"previews.file is {path}")
            return [make.of_row(row) for row in rows]

        rows: list[Question] = self._read_once("previews.file", wanted.file, settings, profile, read)
        return texts + rows

    def _read_once(
        self, setting: str, file: str, settings: Settings, profile: DataProfile, read: Callable[[], Any]
    ) -> Any:
        path = self._base_dir / file
        changed_at = path.stat().st_mtime_ns if path.exists() else None
        key = (path, changed_at, settings.data, settings.profile, profile.code, settings.validation)
        if setting not in self._cached or self._cached[setting][0] != key:
            self._cached[setting] = (key, read())
        return self._cached[setting][1]
