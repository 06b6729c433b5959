"""What can go wrong when you ask something of a working directory: one class each, with one base class.

Every message says place, value, expectation and way out, so that a person needs nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class ClientError(RuntimeError):
    """What was asked cannot be done; the message says why, and what to do."""

    exit_code = 1
    """With which a command ends that meets it."""


class NotAWorkingDirectory(ClientError):
    """Nothing looks like a working directory there."""


class InvalidSettings(ClientError):
    """`config.json`, the environment or an override holds what is no setting."""

    exit_code = 78  # EX_CONFIG: no use in starting again


class NoDaemon(ClientError):
    """No daemon runs here that could obey."""

    exit_code = 3


class NoLog(ClientError):
    """There is no log to read."""


class CannotCreate(ClientError):
    """No working directory can be made of this folder."""


class RunsAlready(ClientError):
    """A daemon runs here already."""


class StartFailed(ClientError):
    """The daemon has ended before it was ready.

    Args:
        exit_code: with which it ended.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotReady(ClientError):
    """The daemon is not ready in time; it continues to start."""


class RunsAsService(ClientError):
    """The daemon belongs to a service manager, which has to restart it."""


class CannotInstall(ClientError):
    """No service can be installed for this."""


class NotObeyed(ClientError):
    """The daemon has not answered a request in time; it may still obey."""


class NotEnded(ClientError):
    """A file's job has not ended in time; it continues."""


class NoSuchFile(ClientError):
    """No file is meant by this name."""


class AmbiguousName(ClientError):
    """Several files may be meant by this name."""


class WrongPlace(ClientError):
    """The file stands where this cannot be done to it."""


class NoSuchPriority(ClientError):
    """A priority has another name."""


class NoSuchRow(ClientError):
    """The file has no row on this line, or none that can be trained."""


class CannotWrite(ClientError):
    """No file can be written there, or it would replace one."""


class NotATrainingFile(ClientError):
    """What is given is no file, or its name says that it is not meant for training."""


class CannotAdmit(ClientError):
    """The file can be trained under no circumstances as it is."""


class NotAdmitted(ClientError):
    """Nobody has admitted the content of the file."""


class UnreadableHistory(ClientError):
    """The ledger is damaged, locked or not a ledger."""


class UnreadableReport(ClientError):
    """What lies in the place of a report or of notes is none of ours."""


class NoReport(ClientError):
    """There is no report on this file."""


class NoSuchCheckpoint(ClientError):
    """No checkpoint has this name."""


class NoSuchVersion(ClientError):
    """No version is meant by this name."""


class FollowerUnusable(ClientError):
    """No installed package offers a follower of this name, or it cannot work."""


class NoMonitor(ClientError):
    """No monitor runs here."""

    exit_code = 3


class MonitorFailed(ClientError):
    """The monitor could not be started, or ended."""


class CannotCompare(ClientError):
    """There is nothing to compare two versions with."""


class CannotUnlock(ClientError):
    """There is no change of a locked setting that could be allowed."""


class BadUpload(ClientError):
    """What is to be uploaded cannot be taken."""


class TooLarge(ClientError):
    """What is to be uploaded has more bytes than may be, or than there is space for."""


class WrongOffset(ClientError):
    """Another part of the upload is expected, or somebody is at it already."""


class TooBusy(ClientError):
    """Others have asked for the same, which is done one at a time; try again soon."""


class FileRefused(ClientError):
    """The file, or the row, would not be trained.

    Args:
        is_bad_config: whether the settings are at fault.
    """

    def __init__(self, message: str, *, is_bad_config: bool) -> None:
        super().__init__(message)
        self.is_bad_config = is_bad_config
        self.exit_code = InvalidSettings.exit_code if is_bad_config else ClientError.exit_code


class HelperFailed(ClientError):
    """A process that was asked has failed, or ended without an answer.

    Args:
        exit_code: with which it ended.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def raising(kind: type[ClientError], *causes: type[Exception]) -> Iterator[None]:
    """Turn errors of a part of the daemon into one of the client, with the same message."""
    try:
        yield
    except causes as error:
        raise kind(str(error)) from error
