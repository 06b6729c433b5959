"""Addresses without what must not be seen in them."""

from urllib.parse import unquote, urlsplit

from trainer.protocol.text import printable

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
