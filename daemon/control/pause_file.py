"""Remember a pause, so that it holds across restarts."""

from pathlib import Path

from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import UnreadableFile, read_json, write_json


class PauseFile:
    """A pause exists as long as its file does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_set = path.exists()
        self.reason: str | None = None
        if self.is_set:
            try:
                reason = read_json(path).get("reason")
                self.reason = reason if isinstance(reason, str) else None
            except (UnreadableFile, AttributeError):
                self.reason = None  # that it is there is enough

    def set(self, reason: str | None, at: str) -> None:
        """Pause.

        Args:
            reason: None keeps the one that was given before.
        """
        reason = reason or self.reason
        write_json(self._path, {"reason": reason, "since": at}, durable=True)
        failpoint("pause.set")
        self.is_set, self.reason = True, reason

    def clear(self) -> bool:
        """End the pause; return whether there was one."""
        was_set = self.is_set
        self._path.unlink(missing_ok=True)
        failpoint("pause.cleared")
        self.is_set, self.reason = False, None
        return was_set
