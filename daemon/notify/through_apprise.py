"""Deliver one notification to each of some services, as Apprise knows them, within a time.

Their addresses are secrets: nothing that is logged or noted quotes them, and what the library logs is
dropped.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from daemon.notify.delivery import Deliver, NotDelivered, within

KINDS = {"failed": "failure", "blocked": "failure", "crashed": "warning", "completed": "success"}


class UnusableApprise(RuntimeError):
    """No service can be reached; the message says why, and what to do."""


def apprise(addresses: Sequence[str], timeout_s: float) -> Deliver:
    """Return what tells each service; one that was reached is not told again when another fails.

    Raises:
        UnusableApprise: the package is not installed, or does not know a service.
    """
    try:
        import apprise as library
    except ImportError as error:
        raise UnusableApprise(
            "notify.apprise is set, but the package apprise is not installed; install the extra: "
            "scripts/setup apprise (with pip: pip install 'training-daemon[apprise]')"
        ) from error
    logging.getLogger("apprise").disabled = True
    services: list[Any] = [library.Apprise.instantiate(address) for address in addresses]
    for number, (address, service) in enumerate(zip(addresses, services, strict=True)):
        if service is None:
            raise UnusableApprise(
                f"notify.apprise.{number} begins with {address.partition('://')[0]}://, but Apprise cannot "
                "use it; expected an address as its documentation has it for this service"
            )
    reached: set[tuple[str, int]] = set()  # of the notification that is tried again

    def deliver(id: str, body: bytes, now: float) -> None:
        reached.intersection_update({(id, number) for number in range(len(services))})
        title, text, kind = _words(json.loads(body))
        failed = []
        for number, service in enumerate(services):
            if (id, number) in reached:
                continue
            if _has_reached(service, title, text, kind, timeout_s):
                reached.add((id, number))
            else:
                failed.append(str(service.service_name))
        if failed:
            raise NotDelivered(f"Apprise could not reach {', '.join(failed)} within {timeout_s:g} s each")

    return deliver


def _words(notification: dict[str, Any]) -> tuple[str, str, str]:
    """Return title, text and Apprise's kind of a notification."""
    event, count = notification["event"], notification["count"]
    title = f"training: {event}" + (f" ({count} times)" if count > 1 else "")
    text = f"{notification['message']}\n{notification['host']}:{notification['base_dir']}"
    return title, text, KINDS.get(event, "info")


def _has_reached(service: Any, title: str, text: str, kind: str, timeout_s: float) -> bool:
    try:
        with within(timeout_s):
            return bool(service.notify(body=text, title=title, notify_type=kind))
    except Exception:  # its text may quote the address
        return False
