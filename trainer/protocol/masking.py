"""Addresses without what must not be seen in them."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trainer.protocol.text import printable

LOCAL = ("file", "local")
HIDDEN = "***"
SHORTEST_SECRET = 3  # anything shorter would be replaced inside of ordinary words


def masked(text: str) -> str:
    """Return an address without its password and its query, printable; a folder as it is."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return printable(text)
    rest, mark, _ = rest.partition("?")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if "@" in path:  # perhaps a password with a slash in it
        return printable(f"{scheme}://{HIDDEN}@{path.rpartition('@')[2]}")
    if at:
        name, colon, _ = user.partition(":")
        place = f"{name}{colon}{HIDDEN if colon else ''}@{host}"
    return printable(f"{scheme}://{place}{slash}{path}{mark}{HIDDEN if mark else ''}")


def local_path(address: str, base_dir: Path) -> str | None:
    """Return the folder that an address means; None for one on a server.

    Args:
        base_dir: where relative paths begin.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme not in LOCAL:
        return None
    return os.path.abspath(base_dir / os.path.expanduser(rest if separator else address))


def local_folder(address: str | None, base_dir: Path) -> Path | None:
    """Return the folder of this machine that an address means; None for any other, or for none at all."""
    path = None if address is None else local_path(address, base_dir)
    return None if path is None else Path(path)


def shown_address(address: str, base_dir: Path) -> str:
    """Return an address as people see it: a whole path, or one without its password."""
    path = local_path(address, base_dir)
    return masked(address) if path is None else printable(path)


def without_secrets(text: str, address: str) -> str:
    """Return a text of a library, which may quote an address, without the password in it."""
    text = text.replace(address, masked(address))
    for secret in _secrets(address):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return []
    if not parts.scheme:
        return []
    values = [value for pair in parts.query.split("&") for value in pair.split("=", 1)[1:]]
    user = parts.netloc.rpartition("@")[0]
    found = {user.partition(":")[2], *values}
    both = {*found, *map(unquote, found)}
    return sorted((item for item in both if len(item) >= SHORTEST_SECRET), key=len, reverse=True)
