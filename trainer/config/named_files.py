"""Which files settings name. Looks at none of them."""

import os
from collections.abc import Iterator

from trainer.config.schema import Settings
from trainer.protocol.text import printable

TEMPLATE = "model.chat_template"
SECRET = "notify.secret_file"


def named_files(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting that names a file, and the path; a relative one begins in the working directory."""
    if settings.validation.file:
        yield "validation.file", settings.validation.file
    for suite, file in settings.validation.suites.items():
        yield f"validation.suites.{printable(suite)}", file
    if settings.previews.file:
        yield "previews.file", settings.previews.file
    if settings.notify.secret_file:
        yield SECRET, settings.notify.secret_file
    if settings.model.chat_template.endswith(".jinja"):
        yield TEMPLATE, os.path.expanduser(settings.model.chat_template)
