"""Read what the ledger has after a place, as rows for trackers. Changes nothing.

Steps are read by their numbers, so one that is trained again after a crash is read once. A branch is read to
its end before the next one, also if the model has long left it. New events of the journal become notes.
"""

import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.ledger.event_stream import RecordedEvent, recorded_event
from daemon.ledger.reader import has_table, open_read_only
from daemon.tracking.branch_tables import BranchTables, KnownBranch
from daemon.tracking.evaluated import new_evaluations
from daemon.tracking.notes import note_of, settings_of_job
from daemon.tracking.place import Place, Seen
from daemon.tracking.rows import Kind, Row
from trainer.protocol.text import num_of

EVENTS_AT_ONCE = 1_000
THINNED_TO_EVERY = 100


@dataclass(frozen=True)
class Read:
    """What was read."""

    rows: list[Row]
    place: Place
    """After them."""
    notice: str | None = None
    """What a person should know: events that the ledger no longer has."""


def read_on(path: Path, place: Place, *, limit: int, now: float) -> Read | None:
    """Return the next rows of the run that a place is in; none if the next ones belong to another run.

    Args:
        limit: steps read at once.
        now: Unix seconds.
    Returns:
        None if there is nothing new.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        database.execute("BEGIN")  # all answers must be about one state of it
        if not has_table(database, "identity"):
            return None
        found = _Reading(database, place, limit, round(now, 3)).read()
    return None if found.place == place and not found.notice else found


class _Reading:
    """One look at the ledger."""

    def __init__(self, database: sqlite3.Connection, place: Place, limit: int, now: float) -> None:
        self._database = database
        self._limit = limit
        self._now = now
        self._tables = BranchTables(database)
        self._rows: list[Row] = []
        self._notice: str | None = None
        self._has_all_events = True
        self._place = self._in_this_ledger(place)

    def read(self) -> Read:
        upcoming = self._tables.after(self._place.branch)
        is_over = self._take_events()
        if is_over and not self._rows:
            self._begin_life()
        elif not is_over:
            is_drained = self._take_steps()
            self._take_evaluations()
            if upcoming and is_drained and self._has_all_events and not self._rows:
                self._begin_branch(upcoming)
        rows = sorted(self._rows, key=lambda row: row.step)
        first = self._place.number - len(rows) + 1
        numbered = [replace(row, number=number) for number, row in enumerate(rows, first)]
        return Read(numbered, self._place, self._notice)

    def _in_this_ledger(self, place: Place) -> Place:
        [identity] = self._database.execute("SELECT ledger FROM identity").fetchone()
        [newest] = self._database.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        if place.ledger not in (None, identity):
            self._notice = "the ledger is another one; the notes that the old one had left are lost"
            return replace(place, ledger=identity, event=0)
        if newest < place.event:
            self._notice = "the ledger was replaced by an older copy; its notes continue from the newest one"
            return replace(place, event=newest)
        return replace(place, ledger=identity)

    def _add(self, kind: Kind, step: int, *, at: float | None = None, **content: object) -> None:
        number = self._place.number + 1
        self._place = replace(self._place, number=number)
        row = Row(number=number, step=step, at=self._now if at is None else at, kind=kind, **content)  # type: ignore[arg-type]
        self._rows.append(row)

    # ---- events

    def _take_events(self) -> bool:
        """Take events up to where the run ends; return whether a new life of the model follows them."""
        query = "SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?"
        found = self._database.execute(query, (self._place.event, EVENTS_AT_ONCE)).fetchall()
        for raw in found:
            event = recorded_event(raw)
            data = event.data or {}
            if self._is_of_next_branch(event):
                return False
            if self._is_new_life(event):
                return True
            if lost := event.id - self._place.event - 1:
                self._notice = f"{num_of(lost, 'note')} lost: the ledger keeps only the newest events"
            has_saved = event.kind == "checkpoint" and data.get("global_step", 0) > 0
            is_saved = self._place.has_checkpoint or has_saved
            self._place = replace(self._place, event=event.id, has_checkpoint=is_saved)
            self._take_event(event)
        self._has_all_events = len(found) < EVENTS_AT_ONCE
        return False

    def _is_of_next_branch(self, event: RecordedEvent) -> bool:
        """Whether it says that the model went back, and what came before is not all read."""
        if event.kind != "went_back" or not self._tables.after(self._place.branch):
            return False
        return int((event.data or {}).get("branch", 0)) > self._place.branch

    def _is_new_life(self, event: RecordedEvent) -> bool:
        is_at_start = event.kind == "worker_ready" and (event.data or {}).get("global_step") == 0
        return is_at_start and self._place.has_checkpoint and self._place.step > 0

    def _take_event(self, event: RecordedEvent) -> None:
        text = settings_of_job(self._database, event.job_id) if event.kind == "started" else None
        if text and text != self._place.settings:
            self._add("settings", self._tables.step_of(event), text=text)
            self._place = replace(self._place, settings=text)
        if note := note_of(event):
            step = max(self._tables.step_of(event), self._place.from_step)
            self._add("note", step, at=note.at, name=note.about, text=note.text)

    # ---- steps and evaluations

    def _take_steps(self) -> bool:
        """Take steps; return whether these were all that the branch has."""
        place = self._place
        found = self._tables.rows("steps", place.branch, after=place.step, limit=self._limit)
        for step in found:
            gap = step["global_step"] - self._place.step
            # Of old steps the ledger keeps every hundredth, which then stands for the others
            tokens = self._place.tokens + step["tokens"] * (gap if 1 < gap <= THINNED_TO_EVERY else 1)
            self._place = replace(self._place, step=step["global_step"], tokens=tokens)
            self._add("metrics", step["global_step"], values=_measured(step, tokens))
        return len(found) < self._limit

    def _take_evaluations(self) -> None:
        for table in ("validations", "suite_scores", "previews"):
            seen: Seen = getattr(self._place, table)
            found = self._tables.rows(table, self._place.branch, after=seen.step - 1, limit=self._limit)
            for evaluation, after in new_evaluations(table, found, seen):
                self._place = replace(self._place, **{table: after})  # type: ignore[arg-type]
                self._add(
                    evaluation.kind,
                    evaluation.step,
                    values=evaluation.values,
                    name=evaluation.name,
                    text=evaluation.text,
                )

    # ---- the next run

    def _begin_branch(self, branch: KnownBranch) -> None:
        from_step = branch.from_step
        seen = Seen(step=from_step + 1)
        self._place = replace(
            self._place,
            branch=branch.number,
            from_branch=branch.from_branch,
            from_step=from_step,
            step=from_step,
            tokens=self._tokens_until(branch.from_branch, from_step),
            number=0,
            settings="",
            validations=seen,
            suite_scores=seen,
            previews=seen,
        )

    def _begin_life(self) -> None:
        place = self._place
        self._place = Place(
            ledger=place.ledger,
            event=place.event,
            branch=place.branch,
            from_branch=place.branch,
            first_branch=place.branch,
        )

    def _tokens_until(self, branch: int, step: int) -> int:
        tokens, before = 0, 0
        for row in self._tables.path_rows(branch, step):
            gap = row["global_step"] - before
            tokens += row["tokens"] * (gap if 1 < gap <= THINNED_TO_EVERY else 1)
            before = row["global_step"]
        return tokens


def _measured(step: sqlite3.Row, tokens: int) -> dict[str, float]:
    values: dict[str, float | None] = {
        "train/loss": step["loss"],
        "train/learning_rate": step["learning_rate"],
        "train/grad_norm": step["grad_norm"],
        "train/tokens_per_s": step["tokens"] / step["seconds"] if step["seconds"] else None,
        "train/tokens": tokens,
    }
    return {name: float(value) for name, value in values.items() if value is not None}
