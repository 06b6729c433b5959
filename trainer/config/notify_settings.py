"""The settings of notifications."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_serializer
from pydantic_core import PydanticCustomError

from trainer.config.section import FileName, Positive, Seconds, Section
from trainer.protocol.masking import HIDDEN
from trainer.protocol.notifiable import NOTIFIABLE, Notifiable


def _refuse_no_web_address(address: str) -> str:
    expected = "an address such as https://example.org/hook, without a user or spaces"
    try:
        parts = urlsplit(address)
        is_usable = bool(parts.hostname) and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable or parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", address):
        raise PydanticCustomError("webhook", expected)
    return address


def _refuse_no_service(address: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[!-~]+", address):
        raise PydanticCustomError("apprise", "addresses such as mailto://user:password@example.org")
    return address


Service = Annotated[str, AfterValidator(_refuse_no_service)]


class NotifySettings(Section):
    """Telling a command, a web server or other services what happens: see `docs/NOTIFICATIONS.md`.

    A change takes effect immediately.
    """

    command: Annotated[list[Annotated[FileName, Field(min_length=1)]], Field(min_length=1)] | None = None
    """A program and its arguments, such as `["/usr/local/bin/tell-me", "--urgent"]`; no shell is involved. It
    is run in the working directory for each notification, with the JSON document on its standard input."""

    webhook: Annotated[str, AfterValidator(_refuse_no_web_address)] | None = None
    """An address that begins with `https://` or `http://`. Each notification is posted there as a JSON
    document. Redirects are not followed."""

    apprise: (
        Annotated[list[Annotated[str, AfterValidator(_refuse_no_service)]], Field(min_length=1)] | None
    ) = None
    """Addresses of services as Apprise has them, such as `mailto://…`, `slack://…` or `ntfy://…`; each gets
    every notification. Needs the extra `apprise`. They hold secrets, so they are never shown or copied."""

    secret_env: Annotated[str, Field(min_length=1)] | None = None
    """The environment variable with the secret that signs what is posted to `webhook`."""

    secret_file: FileName | None = None
    """The file with that secret (relative to the working directory), which only its owner may read."""

    events: list[Notifiable] = NOTIFIABLE
    """What to tell: `completed` and `failed` are about files, `blocked` and `crashed` about training,
    `recovered` says that one of these two is over, and `queue_empty` that nothing is left to train."""

    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Seconds that the command or the server has for one notification."""

    max_per_minute: Positive = 10
    """Maximum number of notifications per minute. What would be more is merged, one notification for each
    kind of event."""

    repeat_after_s: Seconds = 3600.0
    """Seconds for which the same crash or block is not sent again."""

    @field_serializer("apprise")
    def _without_secrets(self, addresses: list[str] | None) -> list[str] | None:
        # Settings are written into checkpoints, versions and what --check-config prints
        return addresses and [f"{address.partition('://')[0]}://{HIDDEN}" for address in addresses]
