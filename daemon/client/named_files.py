"""What settings name must be there: files, a base model, a data profile. Loads no model."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from daemon.client.template_file import template_problem
from trainer.config.named_files import TEMPLATE, named_files
from trainer.config.schema import Settings
from trainer.protocol.text import printable

TINY = "tiny"


def unusable_names(settings: Settings, base_dir: Path) -> Iterator[str]:
    """Yield a sentence for each setting that names something which is not there.

    Args:
        base_dir: where relative paths start.
    """
    yield from _model_problems(settings, base_dir)
    for name, file in named_files(settings):
        path = base_dir / file
        if not path.is_file():
            yield f'{name} is "{printable(file)}", but {printable(str(path))} is not a file; correct the path'
        elif name == TEMPLATE and (problem := template_problem(path)):
            yield f'{name} is "{printable(file)}", which {problem}'
    if (command := settings.notify.command) and not _is_program(command[0], base_dir):
        shown = printable(command[0])
        yield f'notify.command begins with "{shown}", which is no program; expected its path, or one in PATH'
    yield from _profile_problems(settings, base_dir)


def _is_program(name: str, base_dir: Path) -> bool:
    return shutil.which(str(base_dir / name) if "/" in name else name) is not None


def _model_problems(settings: Settings, base_dir: Path) -> Iterator[str]:
    name = settings.model.base_model
    path = base_dir / os.path.expanduser(name)
    is_of_hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if name != TINY and not is_of_hub and not path.is_dir():
        yield (
            f'model.base_model is "{printable(name)}", but {printable(str(path))} is not a folder; expected '
            '"tiny", the path of a model folder, or a hub name such as "Qwen/Qwen3-0.6B"'
        )


def _profile_problems(settings: Settings, base_dir: Path) -> Iterator[str]:
    from trainer.profiles.base import BadProfileOption, BrokenProfile, UnknownProfile
    from trainer.profiles.registry import make_profile

    try:
        make_profile(settings.profile.name, settings.profile.options, base_dir=base_dir)
    except (UnknownProfile, BadProfileOption, BrokenProfile) as error:
        yield printable(str(error))
