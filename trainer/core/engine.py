"""TrainerEngine: one model, loaded once, that learns file after file. The library's public face."""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from trainer import __version__
from trainer.config.loader import BadConfig
from trainer.config.lock import locked_values
from trainer.config.schema import CheckpointSettings, Settings
from trainer.core.abilities import refuse_impossible
from trainer.core.adapter import add_adapter, load_adapter, save_adapter
from trainer.core.checkpoints import CheckpointStore, Saving
from trainer.core.compilation import compile_layers
from trainer.core.feeding_trainer import FeedingTrainer, choose_precision
from trainer.core.fingerprint import fingerprint
from trainer.core.fit import fit_key, measure_best_budget
from trainer.core.fit_memory import FILE_NAME, RememberedBudget, tokens_for_new_job
from trainer.core.lineage import refuse_missing_gpu, refuse_other_base, unlocked_settings
from trainer.core.model import display_name, find_base_model, load_model, refuse_longer_rows, save_tokenizer
from trainer.core.publishing import STAGING
from trainer.core.quantization import in_four_bits, stay_trainable
from trainer.core.ranks import Ranks
from trainer.core.retention import Retention
from trainer.core.saver import PendingSave
from trainer.core.session import CommandSource, Session
from trainer.core.shares import threads_of_each
from trainer.core.training_state import load_state, load_way, refuse_broken, write_state
from trainer.core.validation import load_validation_examples
from trainer.data.check import check_file
from trainer.data.render import Example, Tokenizer
from trainer.data.token_cache import FOLDER, TokenCache
from trainer.monitoring.reporter import Reporter
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.job import JobRecord, Outcome
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
        on_event: told what happens; called from the thread that trains, but for the `Faulted` of another of
            `training.processes`, with which this process ends.
        find_checkpoint: finds the one to go on from; None takes the newest in `models/` that verifies.
        is_alone: takes whole steps itself, whatever `training.processes` says, to see what they are like.
        may_measure: finds the best micro-batch when it loads, if the settings leave that open.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        base_dir: Path,
        models: Path | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        find_checkpoint: Callable[[], Checkpoint | None] | None = None,
        is_alone: bool = False,
        may_measure: bool = True,
    ) -> None:
        self._settings = settings
        self._base_dir = base_dir.absolute()
        self._models = models or self._base_dir / "models"
        self._store = CheckpointStore(self._models)
        self._find_checkpoint = find_checkpoint or self._store.newest_verified
        self._is_alone = is_alone
        self._may_measure = may_measure
        self._tell_at_once = on_event
        self._ranks: Ranks | None = None
        self._cache = TokenCache(self._models / FOLDER)
        self._validation: tuple[Any, list[Example]] | None = None
        self.reporter = Reporter(on_event)
        self.progress = Progress()
        self._trainer: FeedingTrainer | None = None
        self._checkpoint: Checkpoint | None = None
        self._base_sha256: str | None = None
        self._unlocked: tuple[Unlocked, ...] = ()

    # ---- the library's face

    def load(self) -> WorkerReady:
        """Load the newest verified checkpoint, or the base model if there is none, and say where it stands.

        Raises:
            NoUsableCheckpoint: there are checkpoints, and none can be trusted.
            ModelUnavailable, UnusableModel: the base model cannot be used.
            LockedSetting: a setting differs that the checkpoints depend on.
            MissingDevice: the GPU it was trained on, or that `training.device` asks for, is gone.
            BadConfig: a setting is not possible here.
        """
        settings = self._settings
        refuse_impossible(settings.training)
        disable_progress_bar()
        if threads := threads_of_each(settings.training):
            torch.set_num_threads(threads)
        if settings.training.processes > 1 and not self._is_alone:
            self._ranks = Ranks(settings.training, base_dir=self._base_dir, tell=self._tell_at_once)
        self._models.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.reporter.doing("loading"):
            self._checkpoint = self._find_checkpoint()
            if self._checkpoint:
                self._unlocked = unlocked_settings(self._checkpoint.manifest, settings, self._models)
                refuse_missing_gpu(self._checkpoint.manifest, settings.training.device)
                self.progress = self._checkpoint.manifest.progress.model_copy(deep=True)
            model, tokenizer = self._load_model()
            if settings.training.compile and not compile_layers(model):
                raise BadConfig(
                    "training.compile is true, but this model has no stack of equal layers to compile; "
                    "set it to false"
                )
            self._trainer = FeedingTrainer(
                model,
                tokenizer,
                settings.training,
                scratch=self._models / STAGING,
                global_step=self.progress.global_step,
                way=load_way(self._checkpoint.path) if self._checkpoint else None,
                tell=lambda text: self.reporter.event(Notice(key="memory", message=text)),
                tick=self.reporter.tick,
            )
            if self._checkpoint:
                self.reporter.recent_steps.extend(load_state(self._trainer, self._checkpoint.path))
                self._trainer.use(settings.training)  # the file holds the weight decay of back then
            if self._ranks:
                self._ranks.join(settings, self._checkpoint, self._trainer)
            if settings.training.micro_batch_tokens == "auto" and self._may_measure:
                logger.info("micro-batches have up to %d tokens", self.budget.for_new_job())
        return self._ready()

    def run_job(self, path: Path | str) -> JobResult:
        """Train one JSONL file and make the result durable.

        Raises:
            BadConfig: rows are to be replayed; only the daemon knows which files were completed.
            ValueError: the file cannot be trained; the message says why.
            OSError: it cannot be read.
        """
        if fraction := self._settings.training.replay_fraction:
            raise BadConfig(
                f"training.replay_fraction is {fraction}; expected 0 with run_job, which knows of no "
                "completed files; set it to 0, or let the daemon train the file"
            )
        path = Path(path).absolute()
        data = self._settings.data
        check = check_file(
            path,
            max_line_bytes=data.max_line_bytes,
            max_unpacked_bytes=data.max_unpacked_bytes,
            fields=data.fields,
        )
        if why := check.verdict(data.max_bad_row_fraction):
            raise ValueError(f"{path}: {why}")
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
        scratch = self._models / FOLDER  # on the disk that is known to be large
        session = Session(self, commands, self.reporter, self._settings, cache=self._cache, scratch=scratch)
        with closing(session.bundles()) as bundles:  # else this would happen when garbage is collected
            self.trainer.feed(self._ranks.share(bundles) if self._ranks else bundles)

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
    def budget(self) -> RememberedBudget:
        """Reads and writes `models/fit.json`, so no follower may ask for it."""
        return RememberedBudget(
            self._models / FILE_NAME,
            fit_key(self.trainer, self._settings),
            steps_taken=lambda: self.progress.global_step,
            measure=self._measure_budget,
            tell=lambda text: self.reporter.event(Notice(key="fit", message=text)),
        )

    def use(self, settings: Settings) -> None:
        """Apply a job's settings.

        Raises:
            BadConfig: `validation.file` cannot be used, or the model has no positions for `data.max_length`.
        """
        refuse_longer_rows(self.trainer.model, settings.data.max_length)
        self._load_validation(settings)  # now, rather than after a file was trained for nothing
        self.trainer.use(settings.training)
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
            rules=Retention(
                keep_last=settings.keep_last,
                keep_every=settings.keep_every,
                keep_best=settings.keep_best,
                max_bytes=settings.max_bytes,
            ),
            expected_bytes=SIZE_WITH_OPTIMIZER * weights_bytes,
            background=settings.background,
        )
        return _PendingSave(self, saving)

    def published(self, checkpoint: Checkpoint) -> CheckpointRef:
        """Take note of a checkpoint that has become durable."""
        self._checkpoint = checkpoint
        for notice in self._take_notices():
            self.reporter.event(Notice(key="checkpoint", message=notice))
        return self._reference(checkpoint)

    def refuse_broken(self) -> None:
        """Make sure that everything learned is a finite number.

        Raises:
            BrokenModel: something is not.
        """
        refuse_broken(self.trainer)

    def validation_loss(self, settings: Settings) -> tuple[float, int] | None:
        """Return mean loss and rows of the validation file; None when there is none."""
        if settings.validation.file is None or self._validation is None:
            return None
        examples = self._validation[1]  # as they were when the job started
        max_tokens = tokens_for_new_job(settings.training, self.budget)
        return self.trainer.mean_loss(examples, max_tokens=max_tokens), len(examples)

    # ---- parts

    def _measure_budget(self) -> int:
        def tell(tokens: int) -> None:  # each is progress, so nobody takes this for a worker that hangs
            detail = f"measuring micro-batches of {tokens:,} tokens"
            section, ticks = self.reporter.section, self.reporter.ticks
            self.reporter.event(Heartbeat(section=section, detail=detail, ticks=ticks))

        found = measure_best_budget(
            self.trainer,
            max_length=self._settings.data.max_length,
            processes=self._settings.training.processes,
            tell=tell,
        )
        message = f"micro-batches of {found.tokens:,} tokens were found to be best here: {found.reason}"
        logger.info(message)
        self.reporter.event(Notice(key="fit", message=message))
        return found.tokens

    def _load_validation(self, settings: Settings) -> None:
        """Render the validation file, again when it or what it depends on has changed."""
        if settings.validation.file is None:
            return
        path = self._base_dir / settings.validation.file
        changed_at = path.stat().st_mtime_ns if path.exists() else None
        key = (path, changed_at, settings.data.max_length, settings.data.fields, settings.profile)
        if self._validation is None or self._validation[0] != key:
            self._validation = (key, load_validation_examples(settings, self._base_dir, self.tokenizer))

    def _load_model(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        settings, checkpoint = self._settings, self._checkpoint
        template = settings.model.chat_template
        if checkpoint and not settings.training.uses_adapter:
            self._base_sha256 = checkpoint.manifest.base_sha256
            return load_model(checkpoint.path, chat_template=template)
        base = find_base_model(
            settings.model.base_model,
            base_dir=self._base_dir,
            models=self._models,
            tell=lambda text: self.reporter.event(Heartbeat(section="loading", detail=text)),
        )
        self._base_sha256 = fingerprint(base)
        if checkpoint:
            refuse_other_base(checkpoint.manifest, self._base_sha256)
        model, tokenizer = load_model(base, chat_template=template, options=self._quantization())
        if settings.training.method == "qlora":
            stay_trainable(model)
        if not settings.training.uses_adapter:
            return model, tokenizer
        if checkpoint:
            return load_adapter(model, checkpoint.path, settings.training), tokenizer
        return add_adapter(model, settings.training), tokenizer

    def _quantization(self) -> dict[str, Any]:
        training = self._settings.training
        if training.method != "qlora":
            return {}
        use_gpu = training.device != "cpu" and torch.cuda.is_available()
        return in_four_bits(precision=choose_precision(training), use_gpu=use_gpu)

    def _write(self, folder: Path) -> None:
        try:
            # Side by side: memory is copied twice as fast by two cores
            with ThreadPoolExecutor(max_workers=1) as beside:
                state = beside.submit(write_state, self.trainer, self.reporter.recent_steps, folder)
                if self._settings.training.uses_adapter:
                    save_adapter(self.trainer.model, folder)
                else:
                    self.trainer.model.save_pretrained(folder)
                self.reporter.tick()
                save_tokenizer(self.trainer.processing_class, folder)
                state.result()
        except torch.OutOfMemoryError:
            raise
        except (SafetensorError, RuntimeError) as error:  # how these libraries report a full disk
            raise OSError(f"the checkpoint cannot be written: {error}; is the disk full?") from error

    def _origin(self) -> Origin:
        settings = self._settings
        as_json = settings.model_dump(mode="json")
        before = self._checkpoint.manifest.unlocked if self._checkpoint else ()
        return Origin(
            base_model=settings.model.base_model,
            method=settings.training.method,
            chat_template=settings.model.chat_template,
            locked=locked_values(settings),
            unlocked=(*before, *(change for change in self._unlocked if change not in before)),
            base_sha256=self._base_sha256,
            device=self.trainer.args.device.type,
            settings=as_json,
            settings_sha256=hashlib.sha256(json.dumps(as_json, sort_keys=True).encode()).hexdigest(),
            versions={name: version(name) for name in ("torch", "transformers", "peft")}
            | {"training-daemon": __version__},
        )

    def _ready(self) -> WorkerReady:
        return WorkerReady(
            model_name=display_name(self._settings.model.base_model),
            method=self._settings.training.method,
            global_step=self.progress.global_step,
            tokens_seen=self.progress.tokens_seen,
            samples_seen=self.progress.samples_seen,
            cursors=tuple(self.progress.cursors.values()),
            finished=tuple(self.progress.finished),
            checkpoint=self._reference(self._checkpoint) if self._checkpoint else None,
            recent_steps=tuple(self.reporter.recent_steps),
            notices=self._take_notices(),
        )

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
