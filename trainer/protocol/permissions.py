"""Permissions to change a locked setting: `models/unlocked.json`, given by a person, read by the worker."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.manifest import Unlocked

FILE_NAME = "unlocked.json"
_PERMISSIONS: TypeAdapter[list[Unlocked]] = TypeAdapter(list[Unlocked])


def read_permissions(models: Path) -> list[Unlocked]:
    """Return the permissions given so far, oldest first.

    Raises:
        UnreadableFile: the file does not hold any.
    """
    path = models / FILE_NAME
    try:
        return _PERMISSIONS.validate_python(read_json(path))
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise UnreadableFile(
            f"{path}: {error.errors()[0]['msg']}; expected a list of permissions; remove it and unlock again"
        ) from error


def give_permission(models: Path, setting: str, was: Any, becomes: Any, *, at: str) -> bool:
    """Allow a setting to change; return whether this is news."""
    given = read_permissions(models)
    if any((known.setting, known.was, known.becomes) == (setting, was, becomes) for known in given):
        return False
    given.append(Unlocked(setting=setting, was=was, becomes=becomes, at=at))
    write_json(models / FILE_NAME, [known.model_dump(mode="json") for known in given], durable=True)
    return True
