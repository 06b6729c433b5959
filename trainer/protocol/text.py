"""Make untrusted text safe to show, in one place: file names, rows and messages reach logs and terminals."""

import errno
import os
import shlex
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

# Control characters, format characters (bidirectional overrides among them), surrogates, line separators
UNSAFE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
GIVE_ACCESS = "give the user who runs this access to it"
FREE_SPACE = "free some space, and try again"
WAYS_OUT = {  # by the system's number of what it refuses
    errno.EACCES: GIVE_ACCESS,
    errno.EPERM: GIVE_ACCESS,
    errno.EROFS: "mount it for writing, or use another place",
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
}
JOINER = "\N{ZERO WIDTH JOINER}"  # a format character that emoji need, harmless by itself


def printable(text: str, *, limit: int | None = None) -> str:
    """Return `text` on one line, with everything a terminal could obey written as an escape.

    Args:
        limit: characters to keep; what is cut is replaced by an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) for char in text)


def _escape(char: str) -> str:
    if unicodedata.category(char) not in UNSAFE_CATEGORIES or char == JOINER:
        return char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"  # a byte that was not UTF-8
    return char.encode("unicode_escape").decode("ascii")


def shell_word(text: str) -> str:
    """Return `text` as one word of a command, printable, that a shell such as bash takes for `text` again."""
    if printable(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(map(_ansi_c, text)) + "'"


def _ansi_c(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if printable(char) == char:
        return char
    # Not \\u: what bash makes of it depends on the language of the terminal
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def utc_text(unix_s: float) -> str:
    """Return a Unix time as UTC in ISO 8601 with milliseconds, the form every file of ours uses."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def num_of(count: int, noun: str) -> str:
    """Return a count with what is counted: `1 row`, `2 rows`, `1,000 rows`; only the last word changes."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def size_text(num_bytes: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("bytes", "KB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"


def duration_text(seconds: float) -> str:
    """Return a duration as people say it."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def display_name(base_model: str, *, merged_at: int | None = None) -> str:
    """Return the short name of a model for people.

    Args:
        merged_at: the global step at which an adapter was last merged into it; None if none was.
    """
    name = base_model.rstrip("/").rpartition("/")[2] or base_model
    return name if merged_at is None else f"{name} (consolidated at step {merged_at:,})"


def system_words(error: OSError) -> str:
    """Return what the system refuses: the place, the reason, and a way out where there is one."""
    if error.strerror is None:
        return str(error)
    named = isinstance(error.filename, str | bytes | Path)  # a number is that of an open file
    place = f"{printable(os.fsdecode(error.filename))}: " if named else ""
    way_out = WAYS_OUT.get(error.errno or 0)
    return f"{place}{error.strerror.lower()}" + (f"; {way_out}" if way_out else "")
