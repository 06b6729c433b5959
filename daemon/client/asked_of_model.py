"""What the model is asked while it is trained: suites of questions, and fixed prompts."""

from dataclasses import dataclass

from trainer.config.schema import Settings


@dataclass(frozen=True, kw_only=True)
class AskedOfModel:
    """Which suites and prompts the settings name, and how often they are put to the model."""

    suites: dict[str, str]
    """Name -> file, as in `validation.suites`."""
    suite_interval_steps: int
    """`validation.interval_steps`."""
    prompts: tuple[str, ...]
    """`previews.prompts`."""
    prompts_file: str | None
    """`previews.file`."""
    preview_interval_steps: int
    """`previews.interval_steps`."""


def asked_of_model(settings: Settings) -> AskedOfModel:
    """Return what the settings say."""
    return AskedOfModel(
        suites=settings.validation.suites,
        suite_interval_steps=settings.validation.interval_steps,
        prompts=tuple(settings.previews.prompts),
        prompts_file=settings.previews.file,
        preview_interval_steps=settings.previews.interval_steps,
    )
