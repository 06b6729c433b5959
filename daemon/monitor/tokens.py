"""The secrets that let a browser or a program in: one to read, one that may also change things."""

import hmac
import os
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.protocol.files import UnreadableFile, read_json, write_atomically
from trainer.protocol.text import printable

FILE_NAME = "monitor_tokens.json"  # in status/, readable by its owner alone
BYTES = 32


class Scope(StrEnum):
    """What somebody may do."""

    READ = "read"
    CONTROL = "control"


class UnusableTokens(RuntimeError):
    """The file of tokens cannot be read or written; the message says why, and what to do."""


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    read: str = Field(min_length=32)
    control: str = Field(min_length=32)


@dataclass(frozen=True)
class Tokens:
    """Both secrets of a working directory."""

    read: str
    control: str

    def scope_of(self, token: str) -> Scope | None:
        """Return what a token allows; None for a wrong one, which takes as long."""
        given = token.encode("utf-8", "replace")
        may_control = hmac.compare_digest(given, self.control.encode())
        may_read = hmac.compare_digest(given, self.read.encode())
        if may_control:
            return Scope.CONTROL
        return Scope.READ if may_read else None


def load_tokens(status: Path, *, renew: bool = False) -> Tokens:
    """Return the tokens of a working directory, which are made when there are none.

    Args:
        status: its folder `status/`.
        renew: make others, so that whoever has the old ones is locked out.
    Raises:
        UnusableTokens: the file holds something else, others may read it, or it cannot be written.
    """
    path = status / FILE_NAME
    shown = printable(str(path))
    try:
        if not renew and path.exists():
            if path.stat().st_mode & 0o077:
                raise UnusableTokens(
                    f"{shown} can be read by others than its owner; expected mode 600: "
                    "start training_monitor with --new-tokens"
                )
            found = _File.model_validate(read_json(path))
        else:
            found = _File(read=secrets.token_urlsafe(BYTES), control=secrets.token_urlsafe(BYTES))
            previous = os.umask(0o077)
            try:
                write_atomically(path, found.model_dump_json(indent=2).encode() + b"\n", durable=True)
            finally:
                os.umask(previous)
    except (UnreadableFile, ValidationError) as error:
        raise UnusableTokens(
            f"{shown} holds no tokens; expected what training_monitor has written: start it with --new-tokens"
        ) from error
    except OSError as error:
        raise UnusableTokens(f"{shown} cannot be used: {error}; give read and write permission") from error
    return Tokens(read=found.read, control=found.control)
