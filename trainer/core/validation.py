"""The rows of a validation file."""

from pathlib import Path

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.core.open_job import make_renderer
from trainer.data.check import check_file
from trainer.data.formats import read_conversation
from trainer.data.render import Example, ExampleRenderer, Tokenizer
from trainer.data.rows import BadRow, RowFile
from trainer.profiles.registry import make_profile


def load_validation_examples(settings: Settings, base_dir: Path, tokenizer: Tokenizer) -> list[Example]:
    """Render all rows of the validation file.

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
    profile = make_profile(settings.profile.name, settings.profile.options)
    try:
        numbered = [
            (rows.line_number(i), read_conversation(rows.read(i), data.fields)) for i in range(len(rows))
        ]
        # A renderer of its own: that of the jobs may be rendering on another thread
        return make_renderer(profile, ExampleRenderer(tokenizer), settings)(numbered)
    except BadRow as error:
        raise BadConfig(f"validation.file is {path}: {error}; expected rows like those trained") from error
    finally:
        rows.close()
