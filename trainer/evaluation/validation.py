"""The rows of a validation file."""

from pathlib import Path

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.checks.file_check import check_file
from trainer.data.formats import read_conversation
from trainer.data.plan import permutation
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.refused_rows import message_with_way_out
from trainer.data.rendering.render import Example, ExampleRenderer, RowExamples, Tokenizer, learnable
from trainer.pipeline.rendering import make_renderer
from trainer.profiles.registry import make_profile


def load_validation_examples(settings: Settings, base_dir: Path, tokenizer: Tokenizer) -> list[Example]:
    """Render the rows of the validation file, or a fixed subset of `validation.max_rows`.

    Raises:
        BadConfig: there is no such file, or it holds a row that cannot be used.
    """
    return learnable(load_validation_rows(settings, base_dir, tokenizer))


def load_validation_rows(settings: Settings, base_dir: Path, tokenizer: Tokenizer) -> list[RowExamples]:
    """Return what each of these rows becomes, in the order of the file.

    Raises:
        BadConfig: there is no such file, or it holds a row that cannot be used.
    """
    path = base_dir / Path(settings.validation.file or "")
    data = settings.data
    try:
        check = check_file(
            path,
            max_line_bytes=data.max_line_bytes,
            max_unpacked_bytes=data.max_unpacked_bytes,
            fields=data.fields,
        )
        if check.refusal or check.rejected_lines or not check.rows:
            raise BadConfig(
                f"validation.file is {path}: {check.refusal or check.first_rejection or 'it has no rows'}; "
                "expected rows like those trained"
            )
        rows = RowFile.open(path, sha256=check.sha256, max_line_bytes=data.max_line_bytes, scratch=base_dir)
    except OSError as error:
        raise BadConfig(
            f"validation.file is {path}: {error.strerror}; expected a readable JSONL file"
        ) from error
    profile = make_profile(settings.profile.name, settings.profile.options, base_dir=base_dir)
    chosen = fixed_subset(len(rows), settings.validation.max_rows)
    try:
        numbered = [(rows.line_number(i), read_conversation(rows.read(i), data.fields)) for i in chosen]
        # A renderer of its own: that of the jobs may be rendering on another thread
        return make_renderer(profile, ExampleRenderer(tokenizer), settings)(numbered)
    except BadRow as error:
        message = message_with_way_out(error)
        raise BadConfig(f"validation.file is {path}: {message}; expected rows like those trained") from error
    finally:
        rows.close()


def fixed_subset(num_rows: int, max_rows: int) -> list[int]:
    """Return the positions of at most `max_rows` rows, spread by chance over a file, always the same ones."""
    shuffle = permutation(num_rows, key="subset")
    return sorted(shuffle(index) for index in range(min(num_rows, max_rows)))
