"""Decide when a dropped file is complete. Pure: probes of a file come in, a verdict goes out.

Nobody can know for certain that a writer is done. What is known: a file that was renamed into place is
complete; a file that somebody has open for writing is not; a file that stays unchanged for a while
very likely is.
"""

from dataclasses import dataclass

from daemon.files.identity import Identity
from daemon.files.probe import FileProbe


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that may be taken soon.

    Args:
        identity: at the last look; None before the first one.
        since: monotonic seconds of the first look that showed this identity.
        renamed_in: it came by a rename, so its content was there before its name.
    """

    identity: Identity | None
    since: float
    renamed_in: bool


@dataclass(frozen=True)
class Take:
    """The file is complete."""


@dataclass(frozen=True)
class Refuse:
    """The file can never be trained."""

    reason: str


@dataclass(frozen=True)
class LookAgain:
    """It is not known yet."""

    at: float
    """Monotonic seconds."""
    candidate: Candidate


Verdict = Take | Refuse | LookAgain


def judge(
    candidate: Candidate, seen: FileProbe, *, now: float, settle_s: float, settle_slow_s: float
) -> Verdict:
    """Decide what to do with a file at `now` (monotonic seconds)."""
    if seen.kind != "file":
        return Refuse(f"it is a {seen.kind}; expected a regular file, so copy the content instead")
    if not seen.is_readable:
        return Refuse("the daemon is not allowed to read it; give it read permission and drop it again")
    is_unchanged = candidate.identity == seen.identity
    since = candidate.since if is_unchanged else now
    again = Candidate(identity=seen.identity, since=since, renamed_in=candidate.renamed_in)
    if seen.has_writer:
        return LookAgain(now + settle_s, Candidate(identity=None, since=now, renamed_in=candidate.renamed_in))
    if candidate.renamed_in and seen.identity.size:
        return Take()
    is_doubtful = seen.has_writer is None or not seen.identity.size or not seen.ends_whole
    wait_s = settle_slow_s if is_doubtful else settle_s
    if not is_unchanged or now - since < wait_s:
        return LookAgain(since + wait_s, again)
    return Take() if seen.identity.size else Refuse("it is empty; expected one JSON object per line")
