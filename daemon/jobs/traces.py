"""What has seen a file that is to be forgotten, and is erased with it. Changes nothing."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from daemon.checkpoints.states import KeptState, deleted_states
from daemon.files.identity import is_there
from daemon.files.notes import (
    REASON_SUFFIX,
    REJECTED_SUFFIX,
    lists_of_content,
    lists_of_name,
    lists_of_rejected,
    note_beside,
    report_file,
    report_file_named,
)
from daemon.ledger.forgetting import Content, ForgettingReader, TrainedJob
from trainer.protocol.branch_path import first_seen, path_of
from trainer.protocol.checkpoints import BASES
from trainer.protocol.forgetting import Erased
from trainer.protocol.job import Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest


class Traces:
    """One content, and everything in the working directory that has seen it.

    Args:
        newest: of the checkpoint that the model has; None if there is none.
        states: all that are kept.
        jobs: ids of those that have trained rows of it, also replayed ones.
        keep_versions: versions that have seen it stay.
    """

    def __init__(
        self,
        layout: Layout,
        ledger: ForgettingReader,
        content: Content,
        newest: Manifest | None,
        states: Sequence[KeptState],
        *,
        jobs: set[str],
        keep_versions: bool,
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._content = content
        self._newest = newest
        self._states = states
        self._jobs = jobs
        self._keep_versions = keep_versions

    def erased(self) -> Erased:
        """Return what is erased once the model has forgotten the file."""
        gone = [state for state in self._everything if self._is_erased(state)]
        files = self._files()
        return Erased(
            files=tuple(sorted(files)),
            others=tuple(sorted(self._lists_of_its_names() - files)),
            checkpoints=tuple(state.path.name for state in gone if not state.is_version),
            versions=tuple(state.path.name for state in gone if state.is_version),
            bases=tuple(self._bases()),
            names=self._content.names,
            seen=tuple(self._seen),
            keeps_versions=self._keep_versions,
        )

    # ---- states of the model

    @cached_property
    def _everything(self) -> list[KeptState]:
        return [*self._states, *deleted_states(self._layout.models)]

    @cached_property
    def _seen(self) -> list[tuple[int, int]]:
        """The branches, and the steps there, at which the model has seen it."""
        seen = list(self._ledger.left_first_steps(self._jobs))
        for step in self._ledger.first_steps(self._jobs):
            seen += [
                (segment.branch, step)
                for segment in (path_of(self._newest) if self._newest else [])
                if segment.after < step <= segment.until
            ]
        return seen

    def _is_erased(self, state: KeptState) -> bool:
        if state.is_version and self._keep_versions:
            return False
        return first_seen(state.manifest, self._seen) is not None

    # ---- merged base models

    def _bases(self) -> Iterator[str]:
        """Yield the merged base models that have seen it, and that nothing is loaded beside that stays.

        One that nothing names has seen it if it was merged after the file came in, on whatever branch.
        """
        needed = {state.manifest.own_base for state in self._everything if not self._is_erased(state)}
        is_tainted: dict[str, bool] = {}
        for state in self._everything:
            first = first_seen(state.manifest, self._seen)
            for merge in state.manifest.consolidations:
                is_tainted[merge.base] = first is not None and first <= merge.global_step
        earliest = min((step for _, step in self._seen), default=None)
        for path in sorted((self._layout.models / BASES).glob("step-*")):
            base, step = f"{BASES}/{path.name}", _merged_at(path.name)
            may_be = earliest is not None and (step is None or step >= earliest)
            if is_tainted.get(base, may_be) and base not in needed:
                yield path.name

    # ---- files

    def _files(self) -> set[str]:
        """Return the files that are about the content, relative to the working directory."""
        layout, sha256 = self._layout, self._content.sha256
        found = {layout.kept_files / sha256, layout.admitted / sha256}
        found |= set(lists_of_content([layout.failed, *layout.trash.glob("*")], sha256))
        for job_id in self._content.job_ids:
            found |= {layout.replayed / job_id, report_file(layout, job_id)}
            if (job := self._ledger.job(job_id)) is None:
                continue
            name = job.job.name
            found.add(report_file_named(layout, name))
            found |= set(lists_of_rejected([layout.failed], name, job.job.rejected_lines))
            for place in places_of(layout, job):
                if is_there(place, job.identity):
                    found.add(place)
                    found |= {note_beside(place, suffix) for suffix in (REASON_SUFFIX, REJECTED_SUFFIX)}
        return {str(path.relative_to(layout.base)) for path in found}

    def _lists_of_its_names(self) -> set[str]:
        """Return where rejected rows of files of its names are listed, relative to the folder."""
        layout = self._layout
        folders = [layout.failed, *layout.trash.glob("*")]
        found = (note for name in self._content.names for note in lists_of_name(folders, name))
        return {str(note.relative_to(layout.base)) for note in found}


def _merged_at(name: str) -> int | None:
    """Return the step at which a base model was merged, by the name of its folder; None for another name."""
    number = name.removeprefix("step-").partition("-")[0]
    return int(number) if number.isdecimal() else None


def places_of(layout: Layout, found: TrainedJob) -> Iterator[Path]:
    """Yield where the file of a job may lie, besides the kept files."""
    name = found.job.name
    folders = [
        layout.processing, *(layout.finished(outcome) for outcome in Outcome), *layout.trash.glob("*")
    ]  # fmt: skip
    yield from (folder / name for folder in (*folders, layout.waiting(found.job.priority)))
    yield layout.replayed / found.job.id
