"""Open a job's file and set up everything that its examples come from."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from trainer.config.schema import Settings
from trainer.data.plan import Plan
from trainer.data.reading.rows import RowFile
from trainer.data.rendering.render import ExampleRenderer
from trainer.data.rendering.source import ExampleSource, Replayed, nothing_replayed
from trainer.data.rendering.token_cache import OpenedCache, TokenCache
from trainer.pipeline.job_plan import job_settings, make_plan
from trainer.pipeline.rendering import RENDERING_CODE, make_renderer
from trainer.profiles.base import DataProfile
from trainer.profiles.registry import make_profile
from trainer.protocol.job import Cursor, Job


def open_rows(job: Job, path: Path, settings: Settings, scratch: Path | None = None) -> RowFile:
    """Open and index a job's file.

    Args:
        scratch: as for `RowFile.open`.
    Raises:
        FileChanged: it is not the file that was checked.
        OSError: it cannot be read.
    """
    return RowFile.open(
        path,
        sha256=job.sha256,
        rejected_lines=job.rejected_lines,
        max_line_bytes=settings.data.max_line_bytes,
        must_hash=settings.data.validation != "quick",
        scratch=scratch,
    )


@dataclass(frozen=True)
class ExamplePipeline:
    """Renders the rows of one job after the other.

    Args:
        renderer: of the model's tokenizer; used by the executor alone.
        executor: the one thread that reads and renders rows.
        cache: of rendered rows; None keeps none.
        base_dir: where a relative path in `profile.name` starts.
    """

    renderer: ExampleRenderer
    executor: Executor
    cache: TokenCache | None = None
    base_dir: Path = Path()

    def profile_of(self, settings: Settings) -> DataProfile:
        """Return the data profile that the settings name.

        Raises:
            UnknownProfile, BadProfileOption, BrokenProfile: the profile cannot be honoured.
        """
        return make_profile(settings.profile.name, settings.profile.options, base_dir=self.base_dir)

    def open_source(
        self,
        job: Job,
        rows: RowFile,
        plan: Plan,
        settings: Settings,
        profile: DataProfile,
        replayed: Replayed = nothing_replayed,
    ) -> ExampleSource:
        """Return where the steps of a job come from."""
        return ExampleSource(
            rows,
            plan,
            make_renderer(profile, self.renderer, settings),
            executor=self.executor,
            lookahead=settings.data.prefetch_steps,
            fields=settings.data.fields,
            replayed=replayed,
            cache=self._open_cache(job, settings, profile),
        )

    def render_ahead(self, job: Job, settings: Settings, cursor: Cursor | None) -> Callable[[RowFile], None]:
        """Return what renders a job's first steps into the cache, once its file is open.

        If the job turns out to be trained with other settings, nothing of it is found in the cache.
        """
        settings = job_settings(cursor, settings)
        plan = make_plan(job, settings, cursor.replayed if cursor else ())
        first = cursor.step if cursor else 0
        end = min(first + settings.data.prefetch_steps, plan.num_steps)

        def render(rows: RowFile) -> None:
            if self.cache:
                profile = self.profile_of(settings)
                self.open_source(job, rows, plan, settings, profile).warm(range(first, end))

        return render

    def _open_cache(self, job: Job, settings: Settings, profile: DataProfile) -> OpenedCache | None:
        if self.cache is None or (fingerprint := self.renderer.fingerprint) is None:
            return None
        data = settings.data
        choices = (data.overlong, data.train_on, data.hidden_parts, data.quotes)
        way = (data.max_length, *choices, data.fields)
        code = (RENDERING_CODE, profile.code)
        facts = (*code, job.sha256, fingerprint, settings.profile, way)
        key = hashlib.sha256(repr(facts).encode()).hexdigest()
        return self.cache.open(key, max_bytes=data.cache_max_bytes)
