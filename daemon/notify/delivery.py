"""Deliver one notification: to a command on its standard input, or to a web server, within a time."""

import base64
import hashlib
import hmac
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainer import __version__
from trainer.protocol.text import printable

SECRET_PREFIX = "whsec_"  # before a secret in base64, as the Standard Webhooks have it
LAST_WORDS_BYTES = 300
TRY_AGAIN = (408, 425, 429)  # of the answers that are the sender's fault, those that time cures

Deliver = Callable[[str, bytes, float], None]
"""Takes an id, the JSON document and the time (Unix seconds). Raises NotDelivered."""


class NotDelivered(RuntimeError):
    """A notification has not arrived.

    Args:
        is_final: trying again is of no use.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class UnusableSecret(RuntimeError):
    """The secret that `notify` names cannot be used."""


def read_secret(
    env: str | None, file: str | None, base: Path, environment: Mapping[str, str]
) -> bytes | None:
    """Return the secret that signs notifications; None if none is named.

    Raises:
        UnusableSecret: it is missing, or others can read it.
    """
    if env is not None:
        text, place = environment.get(env, ""), f"notify.secret_env is {printable(env)!r}, but that variable"
    elif file is not None:
        path, place = base / file, f"notify.secret_file is {printable(file)!r}, but that file"
        try:
            if path.stat().st_mode & 0o077:
                raise UnusableSecret(f"{place} can be read by other users; expected: chmod 600")
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableSecret(f"{place} cannot be read: {printable(str(error))}") from error
    else:
        return None
    if not (text := text.strip()):
        raise UnusableSecret(f"{place} is empty; expected a secret, such as from: openssl rand -hex 32")
    if not text.startswith(SECRET_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise UnusableSecret(f"{place} is no base64 after {SECRET_PREFIX}") from error


def signature(secret: bytes, id: str, timestamp: str, body: bytes) -> str:
    """Sign as the Standard Webhooks do: HMAC-SHA256 over id, time and body (standardwebhooks.com)."""
    signed = b".".join([id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


# ---- a web server


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *given: Any) -> None:
        return None  # another host must get neither the notification nor its signature


def webhook(address: str, secret: bytes | None, timeout_s: float) -> Deliver:
    """Return what posts a notification to an address."""
    opener = urllib.request.build_opener(_NoRedirects)
    parts = urlsplit(address)
    place = printable(f"{parts.scheme}://{parts.hostname}")  # the rest may be a secret of its own

    def deliver(id: str, body: bytes, now: float) -> None:
        timestamp = str(int(now))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"training-daemon/{__version__}",
            "webhook-id": id,
            "webhook-timestamp": timestamp,
        }
        if secret is not None:
            headers["webhook-signature"] = signature(secret, id, timestamp, body)
        request = urllib.request.Request(address, data=body, headers=headers, method="POST")
        try:
            # The alarm limits the whole; the other timeout only each wait for a byte
            with within(timeout_s), opener.open(request, timeout=timeout_s):
                pass  # what it answers besides the status is not read
        except urllib.error.HTTPError as error:
            error.close()
            raise _refusal(place, error.code) from error
        except TimeoutError as error:
            raise NotDelivered(f"{place} has not answered within {timeout_s:g} s") from error
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise NotDelivered(f"{place} could not be reached within {timeout_s:g} s") from error
            raise NotDelivered(f"{place} cannot be reached: {printable(str(error), limit=200)}") from error

    return deliver


def _refusal(place: str, code: int) -> NotDelivered:
    if 300 <= code < 400:
        return NotDelivered(
            f"{place} answers {code}, a redirect, which is not followed; set notify.webhook to the new one",
            is_final=True,
        )
    return NotDelivered(f"{place} answers {code}", is_final=400 <= code < 500 and code not in TRY_AGAIN)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this thread, the main one, when the time is over."""

    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- a command


def _how_it_ended(code: int) -> str:
    return f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"


def command(words: Sequence[str], folder: Path, timeout_s: float) -> Deliver:
    """Return what runs a command, with a notification on its standard input."""
    shown = printable(words[0], limit=100)

    def deliver(id: str, body: bytes, now: float) -> None:
        with tempfile.TemporaryFile() as said:
            try:
                child = subprocess.Popen(
                    words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
                    start_new_session=True,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                raise NotDelivered(f"{shown} cannot be run: {printable(str(error), limit=200)}") from error
            try:
                child.communicate(body + b"\n", timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                raise NotDelivered(f"{shown} has not ended within {timeout_s:g} s; it was killed") from error
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # what it has started, too
                child.wait()
            if child.returncode:
                said.seek(max(0, said.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
                words_said = printable(" ".join(said.read().decode("utf-8", "replace").split()))
                because = f": {words_said}" if words_said else ""
                raise NotDelivered(f"{shown} {_how_it_ended(child.returncode)}{because}")

    return deliver
