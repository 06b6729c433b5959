"""Where backups go: a folder, or the address of a server. A password in it is never shown."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainer.protocol.masking import LOCAL, local_path, shown_address, without_secrets
from trainer.protocol.text import printable, shell_word

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("sftp", "ssh"), "paramiko"),
        **dict.fromkeys(("s3", "s3a"), "s3fs"),
        **dict.fromkeys(("gs", "gcs"), "gcsfs"),
        **dict.fromkeys(("abfs", "az"), "adlfs"),
        "smb": "smbprotocol",
        "webdav": "webdav4",
    }
)
"""Scheme -> the package that fsspec needs for it."""
WHOLE_UPLOADS = ("s3", "s3a", "gs", "gcs", "abfs", "az")
"""Where an upload becomes visible when all of it has come, and nothing can be renamed."""


class UnusableDestination(RuntimeError):
    """Backups cannot go there, or come from there."""


@dataclass(frozen=True)
class Address:
    """A destination, and how it is shown."""

    url: str = field(repr=False)
    scheme: str
    shown: str

    @property
    def is_local(self) -> bool:
        return self.scheme in LOCAL

    @property
    def takes_whole_uploads(self) -> bool:
        return self.scheme in WHOLE_UPLOADS

    def hide(self, text: str) -> str:
        """Return a text of a library without the password, which it may quote."""
        return printable(without_secrets(text, self.url), limit=500)


def address_of(text: str, *, base_dir: Path) -> Address:
    """Return what somebody means by a destination.

    Args:
        base_dir: where relative paths begin.
    Raises:
        UnusableDestination: no backup can go there.
    """
    shown, path = shown_address(text, base_dir), local_path(text, base_dir)
    if path is not None:
        if os.path.exists(path) and not os.path.isdir(path):
            raise UnusableDestination(f"{shown} is a file; expected a folder")
        return Address(url=path, scheme=LOCAL[0], shown=shown)
    scheme = text.partition("://")[0]
    if scheme not in PACKAGES or "::" in text:
        known = ", ".join(f"{name}://" for name in PACKAGES)
        raise UnusableDestination(
            f"{shown}: expected a folder, or an address that begins with one of {known}"
        )
    return Address(url=text, scheme=scheme, shown=shown)


def open_file_system(address: Address) -> tuple[Any, str]:
    """Return the file system of an address, as fsspec has it, and the folder in it.

    Raises:
        UnusableDestination: a package is missing, or the server cannot be reached.
    """
    import fsspec

    options: dict[str, Any] = {}
    try:
        if address.scheme in ("sftp", "ssh"):
            options["host_key_policy"] = _known_hosts_only()
        file_system, path = fsspec.core.url_to_fs(address.url, **options)
    except ImportError as error:
        package = PACKAGES[address.scheme]
        raise UnusableDestination(
            f"{address.shown}: {address.scheme}:// needs the package {package}, which is not installed; "
            f"install it: pip install {package}"
        ) from error
    except Exception as error:  # of any library, and any kind
        raise UnusableDestination(f"{address.shown} cannot be reached: {said_by(error, address)}") from None
    return file_system, str(path).rstrip("/") or "/"


def said_by(error: BaseException, address: Address) -> str:
    """Return what a library says went wrong, without a password, on one line."""
    return address.hide(re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__)


def _known_hosts_only() -> Any:
    """Return the rule by which a server must be known to ssh: fsspec alone would trust whoever answers."""
    import paramiko

    class KnownHostsOnly(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            known = paramiko.HostKeys()
            for file in (Path.home() / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts")):
                if file.is_file():
                    known.load(str(file))
            if not known.check(hostname, key):
                host, _, port = hostname.removeprefix("[").partition("]:")
                by_hand = (
                    f"ssh -p {shell_word(port)} {shell_word(host)}" if port else f"ssh {shell_word(host)}"
                )
                raise paramiko.SSHException(
                    f"the server's key is not among the known hosts; connect once by hand: {by_hand}"
                )

    return KnownHostsOnly()
