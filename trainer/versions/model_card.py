"""README.md of a version: the model card that the hub shows, with what is known about how it was made."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from trainer.protocol.files import sync_file
from trainer.protocol.text import num_of, printable
from trainer.versions.record import TrainedFile, VersionRecord

CARD_NAME = "README.md"
FILES_SHOWN = 50
SETTINGS_SHOWN = ("training", "data", "model", "profile")
"""Sections of the settings that shape the weights."""


def write_card(folder: Path, record: VersionRecord) -> None:
    """Write the card of a version into its folder, durably."""
    data = ModelCardData(
        base_model=record.base_model,
        library_name="peft" if record.method in ("lora", "qlora") else "transformers",
        pipeline_tag="text-generation",
        model_name=record.id,
        tags=["training-daemon"],
    )
    body = "\n".join(_lines(record))
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n").save(folder / CARD_NAME)
    sync_file(folder / CARD_NAME)


def _lines(record: VersionRecord) -> Iterator[str]:
    yield f"# {record.id}"
    yield ""
    steps = num_of(record.global_step, "step")
    yield (
        f"Fine-tuned from {_code(record.base_model)} ({record.method}). {steps}, "
        f"{num_of(record.tokens_seen, 'token')}; made at {record.made_at} from the checkpoint "
        f"{_code(record.checkpoint)}."
    )
    if record.own_base:
        yield ""
        yield (
            f"Its base model was made of {_code(record.base_model)} by merging an earlier adapter; it is "
            f"{_code(f'models/{record.own_base}')} in the working directory."
        )
    yield from _numbers(record)
    yield from _files(record)
    yield from _settings(record)
    yield ""
    yield "## Libraries"
    yield ""
    yield from (f"- {_code(name)} {_code(version)}" for name, version in sorted(record.libraries.items()))


def _numbers(record: VersionRecord) -> Iterator[str]:
    if record.validation_loss is None and not record.suites:
        return
    yield from ("", "## Evaluation", "", "| what | rows | loss | right |", "| --- | --- | --- | --- |")
    if record.validation_loss is not None:
        whose = " of the averaged weights" if record.validation_weights == "average" else ""
        yield f"| validation{whose} | | {record.validation_loss:.4f} | |"
    for score in record.suites:
        loss = "" if score.loss is None else f"{score.loss:.4f}"
        when = f" at step {score.global_step:,}" if score.global_step != record.global_step else ""
        yield f"| {_code(score.suite)}{when} | {score.rows} | {loss} | {score.exact_match:.1%} |"


def _files(record: VersionRecord) -> Iterator[str]:
    since = f"since {record.parent}" if record.parent else "from the base model on"
    yield from ("", f"## Data ({since})", "")
    if not record.trained:
        yield "No file."
        return
    yield from ("| file | its rows | steps | SHA-256 |", "| --- | --- | --- | --- |")
    yield from map(_file_row, record.trained[:FILES_SHOWN])
    if more := record.trained[FILES_SHOWN:]:
        yield f"\n{num_of(len(more), 'more file')}: see VERSION.json."


def _file_row(file: TrainedFile) -> str:
    return (
        f"| {_code(file.name)} | {file.rows} | {file.first_step} to {file.last_step} | `{file.sha256[:16]}` |"
    )


def _settings(record: VersionRecord) -> Iterator[str]:
    yield from ("", "## Settings", "")
    for section in SETTINGS_SHOWN:
        values = record.settings.get(section)
        if isinstance(values, dict):
            yield from (f"- {_code(f'{section}.{name}')}: {_code(value)}" for name, value in values.items())


def _code(value: object) -> str:
    """Return a value as code that cannot end early, nor end a cell of a table."""
    return "`" + printable(str(value)).replace("`", "'").replace("|", "\\|") + "`"
