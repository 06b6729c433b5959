"""Files in the inbox that are not accepted: report them, each with what it is, and when they are gone."""

from collections.abc import Sequence
from pathlib import Path

from daemon.files.names import TRAINING_SUFFIXES
from daemon.intake.ignored import hint_for
from daemon.journal.events import FileNotAccepted, FilesIgnored, NoFilesIgnored, UnacceptedFileGone
from daemon.journal.journal import Journal
from trainer.protocol.text import printable

NAMED = 3  # of all that are not accepted
EXPLAINED = 10  # alerts of their own, of the twenty that a status has
LOOKED_AT = 30  # of any number; each look opens a file


class IgnoredFiles:
    """What was reported so far.

    Args:
        base: the working directory.
    """

    def __init__(self, base: Path, journal: Journal) -> None:
        self._base = base
        self._journal = journal
        self._reported: FilesIgnored | None = None
        self._explained: dict[str, str] = {}  # place -> sentence

    def report(self, files: Sequence[Path], folders: Sequence[Path]) -> None:
        """Report what has changed since the last call.

        Args:
            files, folders: that are not accepted, or cannot be read, now.
        """
        named = sorted([(path.name, path) for path in files] + [(f"{path.name}/", path) for path in folders])
        explained = self._explain([path for _, path in named[:LOOKED_AT]])
        named = [(name, path) for name, path in named if path not in explained]
        found = FilesIgnored(
            names=tuple(printable(name, limit=60) for name, _ in named[:NAMED]),
            more=len(named[NAMED:]),
            suffixes=TRAINING_SUFFIXES,
        )
        before, self._reported = self._reported, found if named else None
        if self._reported != before:
            self._journal.record(self._reported or NoFilesIgnored())

    def _explain(self, paths: Sequence[Path]) -> set[Path]:
        """Say of the first files that can be told what each is; return these."""
        now: dict[str, str] = {}
        explained: set[Path] = set()
        for path in paths:
            if len(now) < EXPLAINED and (hint := hint_for(path, self._base)):
                now[printable(str(path.relative_to(self._base)))] = hint
                explained.add(path)
        before, self._explained = self._explained, now
        for place in before.keys() - now.keys():
            self._journal.record(UnacceptedFileGone(file=place))
        for place, hint in now.items():
            if before.get(place) != hint:
                self._journal.record(FileNotAccepted(file=place, hint=hint))
        return explained
