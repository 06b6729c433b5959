"""Take complete files out of the inbox. What happens to their rows is the checker's business.

    inbox/ --settled--> queue/PRIORITY/ --checked--> job          (or queue/failed/ with the reason)

A file put straight into a queue folder takes the same way from the second step on.
"""

from pathlib import Path

from daemon.files.probe import probe
from daemon.intake.completeness import Candidate, LookAgain, Refuse, Take, judge


class Settling:
    """Files that may be complete soon.

    Args:
        settle_s, settle_slow_s: as in `DaemonSettings`.
    """

    def __init__(self, *, settle_s: float, settle_slow_s: float) -> None:
        self._settle_s = settle_s
        self._settle_slow_s = settle_slow_s
        self._pending: dict[Path, tuple[float, Candidate]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def notice(self, path: Path, *, renamed_in: bool, now: float) -> None:
        """A file was seen or changed: probe it at `now`. That it once came by a rename is not forgotten."""
        if known := self._pending.get(path):
            candidate = known[1]
            renamed_in = renamed_in or candidate.renamed_in
            candidate = Candidate(identity=candidate.identity, since=candidate.since, renamed_in=renamed_in)
        else:
            candidate = Candidate(identity=None, since=now, renamed_in=renamed_in)
        self._pending[path] = (now, candidate)

    def notice_scanned(self, path: Path, *, now: float) -> None:
        """A rescan found a file; one that is already known is probed when it is due."""
        if path not in self._pending:
            self.notice(path, renamed_in=False, now=now)

    def due_at(self) -> float | None:
        """Return when to call `settled` next, in monotonic seconds."""
        return min((at for at, _ in self._pending.values()), default=None)

    def settled(self, now: float) -> tuple[list[Path], list[tuple[Path, str]]]:
        """Probe the files that are due; return the complete, and with a reason those never to be taken."""
        complete: list[Path] = []
        refused: list[tuple[Path, str]] = []
        for path, (due_at, candidate) in list(self._pending.items()):
            if due_at > now:
                continue
            del self._pending[path]
            try:
                seen = probe(path)
            except OSError:  # such as too many open files: not the file's fault
                self._pending[path] = (now + self._settle_slow_s, candidate)
                continue
            if seen is None:
                continue
            verdict = judge(
                candidate, seen, now=now, settle_s=self._settle_s, settle_slow_s=self._settle_slow_s
            )
            match verdict:
                case Take():
                    complete.append(path)
                case Refuse(reason):
                    refused.append((path, reason))
                case LookAgain(at, changed):
                    self._pending[path] = (at, changed)
        return complete, refused
