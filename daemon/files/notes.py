"""Notes beside users' files: how they are named, and how to tell one from a user's file."""

from pathlib import Path

from trainer.protocol.text import printable

REASON_SUFFIX = ".reason.json"
REJECTED_SUFFIX = ".rejected.jsonl"
NOTE_NAME_BYTES = 200  # of the file's name in the name of a note; a file name has 255 at most


def note_beside(path: Path, suffix: str) -> Path:
    """Return the path of a note of ours about a file: the file's name made printable, cut to what fits."""
    shown = printable(path.name).encode()[:NOTE_NAME_BYTES].decode("utf-8", "ignore")
    return path.with_name(shown + suffix)


def is_users_file(name: str) -> bool:
    """Whether a name in a folder of finished files is a user's, not a note of ours beside one."""
    return not name.startswith(".") and not name.endswith((REASON_SUFFIX, REJECTED_SUFFIX))
