"""TrainerEngine: one model, loaded once, that is trained on file after file. The library's public face."""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from trainer.checkpoints.compatibility import refuse_missing_gpu, unlocked_settings
from trainer.checkpoints.publishing import STAGING
from trainer.checkpoints.store import CheckpointStore, Saving
from trainer.checkpoints.training_state import load_forward_strategy, load_state, refuse_broken
from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.checks.file_check import check_file
from trainer.data.rendering.render import Tokenizer
from trainer.data.rendering.token_cache import FOLDER, TokenCache
from trainer.distributed.followers import FollowerLauncher
from trainer.distributed.ranks import Ranks
from trainer.distributed.sharding import threads_of_each
from trainer.evaluation.evaluator import Evaluator
from trainer.model.loading import refuse_longer_rows
from trainer.model.vocabulary import refuse_missing_tokens
from trainer.profiles.base import DataProfile
from trainer.profiles.registry import hidden_profiles, make_profile
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Origin, Progress, Unlocked
from trainer.protocol.messages import (
    CheckpointRef,
    Command,
    Event,
    Heartbeat,
    JobEnded,
    Notice,
    QueueEmpty,
    ShutDown,
    StartJob,
    StepsTaken,
    WorkerReady,
)
from trainer.protocol.text import display_name, printable
from trainer.reporting.reporter import Reporter
from trainer.session.batch_size_finder import batch_size_key, measure_best_batch_size
from trainer.session.batch_size_store import FILE_NAME, BatchSizeFile, tokens_for_new_job
from trainer.session.checkpoint_files import (
    origin_of,
    retention_of,
    size_of_average,
    write_checkpoint_files,
)
from trainer.session.gate_state import GateState, read_gate, write_gate
from trainer.session.interfaces import CommandSource
from trainer.session.precision_finder import FILE_NAME as PRECISION_FILE
from trainer.session.precision_finder import bf16_is_faster, times_as_fast_in_bf16
from trainer.session.requirements import refuse_impossible, refuse_without_daemon
from trainer.session.row_indexing import RowIndexer
from trainer.session.saver import PendingSave
from trainer.session.session import Session
from trainer.session.starting_model import StartingModel, load_starting_model
from trainer.step.feeding_trainer import FeedingTrainer
from trainer.step.precision import change_of_precision

SIZE_WITH_OPTIMIZER = 3  # the weights, and AdamW's two averages of each

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResult:
    """What came of one file."""

    record: JobRecord
    first_loss: float | None
    last_loss: float | None
    checkpoint: Path
    """Loads with `AutoModelForCausalLM.from_pretrained`."""


class TrainerEngine:
    """Holds model, optimizer and progress, and trains files.

    Args:
        settings: of the session.
        base_dir: relative paths in the settings start here; `models/` lies below it.
        models: where it lies instead.
        on_event: called with what happens, from the thread that trains, but for the `Faulted` of another of
            `training.processes`, with which this process ends.
        find_checkpoint: finds the one to go on from; None takes the newest in `models/` that verifies.
        is_alone: takes whole steps itself, whatever `training.processes` says, to see what they are like.
        may_measure: finds the best micro-batch when it loads, if the settings leave that open.
        followers: starts the others of `training.processes`; None starts them on this machine.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        base_dir: Path | str,
        models: Path | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        find_checkpoint: Callable[[], Checkpoint | None] | None = None,
        is_alone: bool = False,
        may_measure: bool = True,
        followers: FollowerLauncher | None = None,
    ) -> None:
        self._settings = self._job_settings = settings
        self._base_dir = Path(base_dir).absolute()
        self._models = models or self._base_dir / "models"
        self._store = CheckpointStore(self._models)
        self._find_checkpoint = find_checkpoint or self._store.newest_verified
        self._is_alone = is_alone
        self._may_measure = may_measure
        self._follower_launcher = followers
        self._tell_at_once = on_event
        self._ranks: Ranks | None = None
        self._cache = TokenCache(self._models / FOLDER)
        self.evaluator = Evaluator(
            self._base_dir,
            trainer=lambda: self.trainer,
            max_tokens=lambda settings: tokens_for_new_job(settings.training, self.batch_sizes),
        )
        self.reporter = Reporter(on_event)
        self.progress = Progress()
        self.gate_state = GateState()
        self._trainer: FeedingTrainer | None = None
        self._checkpoint: Checkpoint | None = None
        self._base_sha256: str | None = None
        self._unlocked: tuple[Unlocked, ...] = ()
        layout = Layout(self._base_dir)
        self._row_indexer = RowIndexer(self._models, [layout.processing, layout.finished(Outcome.COMPLETED)])

    # ---- the library's face

    def load(self) -> WorkerReady:
        """Load the newest verified checkpoint, or the base model if there is none, and say where it stands.

        Raises:
            NoUsableCheckpoint: there are checkpoints, and none can be trusted.
            ModelUnavailable, UnusableModel: the base model cannot be used.
            LockedSetting: a setting differs that the checkpoints depend on.
            MissingDevice: the GPU it was trained on, or that `training.device` asks for, is gone.
            BadConfig: a setting is not possible here.
            UnknownProfile, BadProfileOption, BrokenProfile: the profile is not.
        """
        settings = self._settings
        refuse_impossible(settings.training)
        profile = self._profile_of(settings)  # before any file is touched
        disable_progress_bar()
        if threads := threads_of_each(settings.training):
            torch.set_num_threads(threads)
        if settings.training.processes > 1 and not self._is_alone:
            self._ranks = Ranks(
                settings.training,
                base_dir=self._base_dir,
                tell=self._tell_at_once,
                launcher=self._follower_launcher,
            )
        self._models.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.reporter.doing("loading"):
            self._checkpoint = self._find_checkpoint()
            if self._checkpoint:
                self._unlocked = unlocked_settings(self._checkpoint.manifest, settings, self._models)
                refuse_missing_gpu(self._checkpoint.manifest, settings.training.device)
                self.progress = self._checkpoint.manifest.progress.model_copy(deep=True)
                self.gate_state = read_gate(self._checkpoint.path)
                self.gate_state.keep_only(set(self.progress.cursors))
                self.progress.gate_checkpoints = self.gate_state.checkpoints
            loaded = load_starting_model(
                settings,
                self._checkpoint,
                profile,
                base_dir=self._base_dir,
                models=self._models,
                tell=lambda text: self.reporter.event(Heartbeat(section="loading", detail=text)),
            )
            self._base_sha256 = loaded.base_sha256
            self._trainer = self._trainer_of(loaded)
            if self._checkpoint:
                self.reporter.recent_steps.extend(load_state(self._trainer, self._checkpoint.path))
                self._trainer.use(settings.training)  # the file holds the weight decay of back then
                self._report_changed_precision(self._trainer, self._checkpoint)
            if self._ranks:
                self._ranks.join(settings, self._checkpoint, self._trainer)
            if settings.training.micro_batch_tokens == "auto" and self._may_measure:
                logger.info("micro-batches have up to %d tokens", self.batch_sizes.for_new_job())
            for remark in hidden_profiles():
                self.reporter.event(Notice(key="profile name", message=remark))
        return self._ready()

    def _report_changed_precision(self, trainer: FeedingTrainer, checkpoint: Checkpoint) -> None:
        earlier = load_forward_strategy(checkpoint.path)
        if earlier and (change := change_of_precision(earlier, trainer.forward.strategy)):
            self.reporter.event(Notice(key="precision", message=change))

    def _trainer_of(self, loaded: StartingModel) -> FeedingTrainer:
        return FeedingTrainer(
            loaded.model,
            loaded.tokenizer,
            self._settings.training,
            scratch=self._models / STAGING,
            global_step=self.progress.global_step,
            strategy=load_forward_strategy(self._checkpoint.path) if self._checkpoint else None,
            bf16_is_faster=self._bf16_is_faster,
            tell=lambda text: self.reporter.event(Notice(key="memory", message=text)),
            tick=self.reporter.tick,
        )

    def _bf16_is_faster(self, model: PreTrainedModel) -> bool:
        if self._checkpoint or self._settings.training.processes > 1:  # which may run on other machines
            return False
        measure = times_as_fast_in_bf16 if self._may_measure else None
        return bf16_is_faster(model, self._models / PRECISION_FILE, measure=measure)

    def run_job(self, path: Path | str) -> JobResult:
        """Train one JSONL file and make the result durable.

        Raises:
            BadConfig: rows are to be replayed, or files judged by the gate, which needs a daemon.
            ValueError: the file cannot be trained; the message says why.
            OSError: it cannot be read.
        """
        refuse_without_daemon(self._settings)
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(
                f"{printable(str(path))} is not there; expected a JSONL file; give its path"
            )
        data = self._settings.data
        check = check_file(
            path,
            max_line_bytes=data.max_line_bytes,
            max_unpacked_bytes=data.max_unpacked_bytes,
            fields=data.fields,
        )
        if why := check.verdict(data.max_bad_row_fraction):
            raise ValueError(f"{path}: {why}")
        self._row_indexer.search_in(path.parent)
        job_id = f"{path.name}-{check.sha256[:12]}-{self.progress.global_step}"
        job = check.to_job(id=job_id, name=path.name)
        seen: list[Event] = []
        start = StartJob(job=job, path=str(path), settings=self._settings.model_dump(mode="json"))
        self._run(_Script([start, QueueEmpty(), ShutDown(reason="the file is done")]), seen.append)
        record = next(event.record for event in seen if isinstance(event, JobEnded))
        if record.outcome is Outcome.FAILED or self._checkpoint is None:
            raise ValueError(f"{path}: {record.message}")
        losses = [step.loss for event in seen if isinstance(event, StepsTaken) for step in event.steps]
        return JobResult(record, losses[0], losses[-1], self._checkpoint.path)

    def run(self, commands: CommandSource) -> None:
        """Do what `commands` say until they say shut down. Everything is saved when this returns."""
        self._index_completed(self._settings)
        session = Session(
            self,
            commands,
            self.reporter,
            self._settings,
            cache=self._cache,
            base_dir=self._base_dir,
            scratch=self._models / FOLDER,  # on the disk that is known to be large
        )
        with closing(session.bundles()) as bundles:  # else this would happen when garbage is collected
            self.trainer.feed(self._ranks.shard(bundles) if self._ranks else bundles)

    def close(self) -> None:
        """End the other processes, if `training.processes` asked for some. They end with this one anyway."""
        if self._ranks:
            self._ranks.close()
            self._ranks = None

    def _run(self, commands: CommandSource, also: Callable[[Event], None]) -> None:
        tell = self.reporter.emit

        def both(event: Event) -> None:
            also(event)
            tell(event)

        self.reporter.emit = both
        try:
            self.run(commands)
        finally:
            self.reporter.emit = tell

    # ---- what a session needs

    @property
    def trainer(self) -> FeedingTrainer:
        if self._trainer is None:
            raise RuntimeError("no model is loaded yet; call load() first")
        return self._trainer

    @property
    def tokenizer(self) -> Tokenizer:
        return cast(Tokenizer, self.trainer.processing_class)

    @cached_property
    def batch_sizes(self) -> BatchSizeFile:
        """Reads and writes `models/fit.json`, so no follower may ask for it."""
        return BatchSizeFile(
            self._models / FILE_NAME,
            batch_size_key(self.trainer, self._settings),
            steps_taken=lambda: self.progress.global_step,
            measure=self._measure_batch_size,
            tell=lambda text: self.reporter.event(Notice(key="fit", message=text)),
        )

    def use(self, settings: Settings) -> None:
        """Apply a job's settings.

        Raises:
            BadConfig: a file to evaluate with cannot be used, the model has no positions for
                `data.max_length`, or no tokens for the profile.
        """
        refuse_longer_rows(self.trainer.model, settings.data.max_length)
        if settings.model.grow_vocabulary:
            refuse_missing_tokens(self.tokenizer, self._profile_of(settings))
        self.evaluator.load(settings)  # now, rather than after a file was trained for nothing
        self._job_settings = settings
        self.trainer.use(settings.training)
        self.trainer.use_average(settings.training)
        if self._ranks:
            self._ranks.use(settings.training)

    def save(self, settings: CheckpointSettings) -> PendingSave:
        """Begin to publish a checkpoint of weights, tokenizer, optimizer and progress.

        Raises:
            BrokenModel: a weight is not a finite number any more; the checkpoints before stay as they are.
            OSError: it cannot be written.
        """
        self.refuse_broken()
        weights_bytes = sum(
            weight.nbytes for weight in self.trainer.model.parameters() if weight.requires_grad
        )
        saving = self._store.save(
            self._write,
            origin=self._origin(),
            progress=self.progress.model_copy(deep=True),
            rules=retention_of(settings),
            expected_bytes=(SIZE_WITH_OPTIMIZER + size_of_average(self.trainer)) * weights_bytes,
            background=settings.background,
        )
        return _PendingSave(self, saving)

    def tidy_up(self, settings: CheckpointSettings) -> None:
        """Remove the checkpoints that are no longer to be kept."""
        self._store.tidy_up(retention_of(settings))

    @property
    def newest_checkpoint(self) -> Path | None:
        """The newest one; None before the first."""
        return self._checkpoint.path if self._checkpoint else None

    @property
    def suspects(self) -> frozenset[str]:
        """Ids of jobs that the gate took back with others: each is judged alone when it comes again."""
        branches = self._checkpoint.manifest.branches if self._checkpoint else ()
        taken_back = (job for branch in branches if branch.why == "gate" for job in branch.jobs)
        return frozenset(job.job_id for job in taken_back if job.fate == "requeued")

    def published(self, checkpoint: Checkpoint) -> CheckpointRef:
        """Take note of a checkpoint that has become durable."""
        self._checkpoint = checkpoint
        for notice in self._take_notices():
            self.reporter.event(Notice(key="checkpoint", message=notice))
        self._index_completed(self._job_settings)
        return self._reference(checkpoint)

    def refuse_broken(self) -> None:
        """Make sure that weights and optimizer are finite numbers.

        Raises:
            BrokenModel: something is not.
        """
        refuse_broken(self.trainer)

    # ---- parts

    def _measure_batch_size(self) -> int:
        def tell(tokens: int) -> None:  # each is progress, so nobody takes this for a worker that hangs
            detail = f"measuring micro-batches of {tokens:,} tokens"
            section, ticks = self.reporter.section, self.reporter.ticks
            self.reporter.event(Heartbeat(section=section, detail=detail, ticks=ticks))

        found = measure_best_batch_size(
            self.trainer,
            max_length=self._settings.data.max_length,
            processes=self._settings.training.processes,
            tell=tell,
        )
        message = f"micro-batches of {found.tokens:,} tokens were found to be best here: {found.reason}"
        logger.info(message)
        self.reporter.event(Notice(key="fit", message=message))
        return found.tokens

    def _profile_of(self, settings: Settings) -> DataProfile:
        return make_profile(settings.profile.name, settings.profile.options, base_dir=self._base_dir)

    def _write(self, folder: Path) -> None:
        write_checkpoint_files(
            self.trainer,
            self.reporter.recent_steps,
            folder,
            uses_adapter=self._settings.training.uses_adapter,
            tick=self.reporter.tick,
        )
        write_gate(folder, self.gate_state)

    def _origin(self) -> Origin:
        return origin_of(
            self._settings,
            self.trainer,
            before=self._checkpoint.manifest if self._checkpoint else None,
            unlocked=self._unlocked,
            base_sha256=self._base_sha256,
        )

    def _ready(self) -> WorkerReady:
        return WorkerReady(
            model_name=display_name(
                self._settings.model.base_model,
                merged_at=self._checkpoint.manifest.merged_at if self._checkpoint else None,
            ),
            method=self._settings.training.method,
            global_step=self.progress.global_step,
            tokens_seen=self.progress.tokens_seen,
            samples_seen=self.progress.samples_seen,
            branches=self._checkpoint.manifest.branches if self._checkpoint else (),
            cursors=tuple(self.progress.cursors.values()),
            finished=tuple(self.progress.finished),
            checkpoint=self._reference(self._checkpoint) if self._checkpoint else None,
            recent_steps=tuple(self.reporter.recent_steps),
            notices=self._take_notices(),
        )

    def _index_completed(self, settings: Settings) -> None:
        """Have the rows of files indexed that the newest checkpoint says are completed."""
        if self._checkpoint and settings.data.validation == "deep":
            self._row_indexer.index(self._checkpoint.manifest.progress.finished, settings.data)
        for message in self._row_indexer.take_messages():
            self.reporter.event(Notice(key="seen rows", message=message))

    def _take_notices(self) -> tuple[str, ...]:
        notices = tuple(self._store.notices)
        self._store.notices.clear()
        return notices

    def _reference(self, checkpoint: Checkpoint) -> CheckpointRef:
        return CheckpointRef(
            path=str(checkpoint.path.relative_to(self._models)),
            step=checkpoint.manifest.progress.global_step,
            at=checkpoint.manifest.written_at,
        )


class _PendingSave:
    """A checkpoint on its way, in the words of a session."""

    def __init__(self, engine: TrainerEngine, saving: Saving) -> None:
        self._engine = engine
        self._saving = saving

    def is_done(self) -> bool:
        return self._saving.is_done()

    def result(self) -> CheckpointRef:
        return self._engine.published(self._saving.result())


class _Script:
    """Commands that are known in advance."""

    def __init__(self, commands: list[Command]) -> None:
        self._commands = deque(commands)

    def get(self, timeout_s: float | None) -> Command | None:
        # Between steps nothing is pending: the job ends by itself before the rest of the script is read
        if timeout_s == 0 or not self._commands:
            return None
        return self._commands.popleft()
