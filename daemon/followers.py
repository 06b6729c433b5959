"""Keep processes running that follow what happens: one for each follower that the settings ask for.

They read the ledger and keep their own place in it. Training does not notice whether they run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.journal.events import NotifierEnded, TrackerEnded, TrackerWorks
from daemon.journal.events.base import JournalEvent
from daemon.journal.journal import Journal
from trainer.protocol.child_process import own_environment
from trainer.protocol.layout import Layout

if TYPE_CHECKING:
    from trainer.config.notify_settings import NotifySettings
    from trainer.config.schema import Settings
    from trainer.config.tracking_settings import Options

CHANNELS = ("command", "webhook", "apprise")
RESTART_AFTER_S, LONGEST_WAIT_S = 60.0, 3600.0  # doubled each time
LOOK_AFTER_S = 60.0
GRACE_S = 5.0  # for what happened last, when the daemon leaves
NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(frozen=True)
class _Wanted:
    """A process as the settings ask for it."""

    module: str
    arguments: tuple[str, ...]
    order: Mapping[str, Any]
    """What it reads from its standard input."""


@dataclass
class _Kept:
    """A process that is kept running, or will be started again."""

    wanted: _Wanted
    process: "subprocess.Popen[bytes] | None" = None
    not_before: float = float("-inf")
    wait_s: float = RESTART_AFTER_S
    started_at: float = float("-inf")
    said: JournalEvent | None = None
    """What was recorded of its last end; None once it works."""

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            _close_input(self.process)
            self.process = None


class Followers:
    """The processes that pass on what happens: to `notify` and to trackers.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, layout: Layout, journal: Journal, *, clock: Callable[[], float]) -> None:
        self._layout = layout
        self._journal = journal
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._settings: Settings | None = None

    def look_after(self, settings: "Settings") -> None:
        """Have what `settings` ask for running, and nothing else."""
        if settings is not self._settings:
            self._use(settings)
            self._settings = settings
        for name, kept in self._kept.items():
            self._keep_running(name, kept)

    def due_at(self) -> float:
        """Return when `look_after` is to be called next, in monotonic seconds."""
        now, kept = self._clock(), self._kept.values()
        waiting = [one.not_before for one in kept if one.not_before > now]
        running = any(one.process for one in kept)
        return min([*waiting, *[now + LOOK_AFTER_S] * running], default=float("inf"))

    def close(self) -> None:
        """Let them send what is left, for a moment; what is not sent by then is sent by the next daemon."""
        running = [kept.process for kept in self._kept.values() if kept.process]
        for process in running:
            _close_input(process)
        deadline = self._clock() + GRACE_S
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - self._clock()))
        for kept in self._kept.values():
            kept.kill()

    def _use(self, settings: "Settings") -> None:
        wanted = dict(_wanted(self._layout, settings))
        for name in [name for name, kept in self._kept.items() if wanted.get(name) != kept.wanted]:
            kept = self._kept.pop(name)
            kept.kill()
            if kept.said and (over := _over(name)):
                self._journal.record(over)
        for channel in CHANNELS:
            if f"notify.{channel}" not in wanted:
                # Whoever turns it on again wants to hear of what happens then
                self._layout.notify_file(channel).unlink(missing_ok=True)
        self._kept |= {name: _Kept(order) for name, order in wanted.items() if name not in self._kept}

    def _keep_running(self, name: str, kept: _Kept) -> None:
        now = self._clock()
        if kept.process and (code := kept.process.poll()) is not None:
            _close_input(kept.process)
            kept.process = None
            kept.not_before = now + kept.wait_s
            self._record_end(name, kept, code)
            kept.wait_s = min(2 * kept.wait_s, LONGEST_WAIT_S)
        elif kept.process and kept.said and now - kept.started_at >= RESTART_AFTER_S:
            kept.said, kept.wait_s = None, RESTART_AFTER_S
            if over := _over(name):
                self._journal.record(over)
        if kept.process is None and now >= kept.not_before:
            kept.not_before = now + RESTART_AFTER_S  # should it not start
            kept.process = self._start(kept.wanted)
            kept.not_before, kept.started_at = float("-inf"), now

    def _record_end(self, name: str, kept: _Kept, code: int) -> None:
        section, _, what = name.partition(".")
        if section == "notify":
            self._journal.record(NotifierEnded(channel=what, exit_code=code, restart_in_s=kept.wait_s))
            return
        problem = _problem(Path(kept.wanted.order["file"]))
        ended = TrackerEnded(tracker=what, exit_code=code, problem=problem)
        if ended != kept.said:  # what nobody has corrected is said once
            self._journal.record(ended)
            kept.said = ended

    def _start(self, wanted: _Wanted) -> "subprocess.Popen[bytes]":
        from daemon.ledger.event_stream import newest_event_id

        order = {**wanted.order, "first_event": newest_event_id(self._layout.ledger_file)}
        child = subprocess.Popen(
            # -P: a file in the working directory must not be mistaken for a module
            [sys.executable, "-P", "-m", wanted.module, *wanted.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: text for name, text in own_environment().items() if name not in NOT_FOR_CHILDREN},
            start_new_session=True,  # Ctrl-C in the daemon's terminal is not meant for it
        )
        assert child.stdin
        with suppress(BrokenPipeError):  # it has died already, which is noted like any other end
            os.write(child.stdin.fileno(), json.dumps(order).encode() + b"\n")
        return child


def _wanted(layout: Layout, settings: "Settings") -> Iterator[tuple[str, _Wanted]]:
    """Yield the processes that the settings ask for, by the names of the settings."""
    notify = settings.notify
    for channel in CHANNELS:
        if getattr(notify, channel) is not None:
            order = {"base_dir": str(layout.base), "channel": channel, "settings": _plain(notify)}
            yield f"notify.{channel}", _Wanted("daemon.notify", (), order)
    for options in settings.tracking.wanted:
        order = {
            "base_dir": str(layout.base),
            "kind": options.kind,
            "options": _plain(options),
            "file": str(layout.tracking_file(options.kind, options.destination(layout.base))),
        }
        yield f"tracking.{options.kind}", _Wanted("daemon.tracking", ("-",), order)


def _plain(section: "NotifySettings | Options") -> dict[str, Any]:
    """Return settings as JSON values, with the secrets that no other copy of them has."""
    return {name: getattr(section, name) for name in type(section).model_fields}


def _over(name: str) -> JournalEvent | None:
    section, _, what = name.partition(".")
    return TrackerWorks(tracker=what) if section == "tracking" else None


def _problem(file: Path) -> str | None:
    """Return why a tracker does not work, as its process has noted; None if it has not."""
    from trainer.protocol.files import UnreadableFile, read_json

    try:
        problem = read_json(file)["problem"]
    except (OSError, UnreadableFile, KeyError, TypeError):
        return None
    return problem if isinstance(problem, str) else None


def _close_input(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
