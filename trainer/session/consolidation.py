"""Merge the adapter of the newest checkpoint into its base model, and continue with a fresh one beside it.

The state before becomes a version; then the new base model is published, and then a checkpoint that names it.
A kill at any point leaves the model as it was or as it is to be: the newest checkpoint decides.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from trainer.checkpoints.bases import publish_base, require_room, staged_base
from trainer.checkpoints.compatibility import refuse_missing_gpu, unlocked_settings
from trainer.checkpoints.publishing import STAGING
from trainer.checkpoints.store import CheckpointStore
from trainer.checkpoints.training_state import load_forward_strategy, load_steps
from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.distributed.sharding import threads_of_each
from trainer.evaluation.row_losses import row_losses
from trainer.model.adapter import add_adapter, load_adapter
from trainer.model.fingerprint import fingerprint
from trainer.model.loading import load_model, save_tokenizer
from trainer.model.quantization import stay_trainable
from trainer.model.template_choice import locate_template
from trainer.profiles.registry import make_profile
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.failpoints import failpoint
from trainer.protocol.faults import UnusableModel
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Consolidation, Origin
from trainer.protocol.text import utc_text
from trainer.session.checkpoint_files import origin_of, retention_of, write_checkpoint_files
from trainer.session.gate_state import GateState, read_gate, write_gate
from trainer.session.merged_model import (
    Behaviour,
    Trial,
    behaviour_of,
    make_trial,
    merge,
    refuse_other_behaviour,
    trained_rows_of,
)
from trainer.session.requirements import refuse_impossible
from trainer.session.starting_model import load_starting_model, quantization_options
from trainer.step.feeding_trainer import FeedingTrainer
from trainer.versions.consolidation import Consolidated, ConsolidateOrder, why_nothing_to_merge
from trainer.versions.model_card import write_card
from trainer.versions.registry import Versions

FP32_BYTES = 4
MAX_LOSS_INCREASE = 0.01
"""Share by which the loss may rise when the merged weights of a QLoRA model are rounded to 4 bits again."""


class OtherCheckpoint(RuntimeError):
    """The newest checkpoint is not the one that an order is about."""


@dataclass(frozen=True)
class _Tried:
    """What the model does before anything is merged."""

    trial: Trial
    behaviour: Behaviour
    loss: float | None
    """Of the validation rows; only measured for QLoRA."""


def consolidate(
    order: ConsolidateOrder, *, tell: Callable[[str], None], clock: Callable[[], float]
) -> Consolidated:
    """Publish a new base model, and a checkpoint with a fresh adapter and a fresh optimizer beside it.

    Nobody else may write to the models folder meanwhile.

    Args:
        tell: called with how far it is.
        clock: Unix seconds.
    Raises:
        OtherCheckpoint: something was published since the order was given.
        UnusableModel: the merged model would not be the same.
        BadConfig, LockedSetting: the settings stand against it.
        OSError: it cannot be written; the model is as before.
    """
    disable_progress_bar()
    settings = Settings.model_validate(order.settings)
    if threads := threads_of_each(settings.training):
        torch.set_num_threads(threads)
    store = CheckpointStore(Layout(order.base_dir).models, clock=clock)
    checkpoint = store.newest_verified()
    if checkpoint is None or checkpoint.path.name != order.checkpoint:
        found = checkpoint.path.name if checkpoint else "none"
        raise OtherCheckpoint(f"the newest checkpoint is {found}; expected {order.checkpoint}; try again")
    if why := why_nothing_to_merge(checkpoint.manifest, settings.training.method):
        raise BadConfig(why)
    return _Consolidation(order, settings, store, checkpoint, tell, clock).run()


class _Consolidation:
    """Carries out one order."""

    def __init__(
        self,
        order: ConsolidateOrder,
        settings: Settings,
        store: CheckpointStore,
        checkpoint: Checkpoint,
        tell: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._order = order
        self._settings = settings
        self._models = Layout(order.base_dir).models
        self._store = store
        self._checkpoint = checkpoint
        self._tell = tell
        self._clock = clock
        self._is_quantised = settings.training.method == "qlora"
        # In fp32, as rounding would hide what is wrong
        plain = settings.training.model_copy(update={"compile": False, "precision": "fp32"})
        self._plain = settings.model_copy(update={"training": plain})
        self._template: dict[str, Any] = {
            "chat_template": locate_template(settings.model.chat_template, order.base_dir),
            "template_options": settings.model.template_options,
        }

    def run(self) -> Consolidated:
        """Do everything."""
        manifest = self._checkpoint.manifest
        self._refuse_unmeasurable()
        refuse_impossible(self._settings.training)
        unlocked = unlocked_settings(manifest, self._settings, self._models)
        refuse_missing_gpu(manifest, self._settings.training.device)
        with staged_base(self._models) as staging:
            tried, difference = self._stage_merged(staging)
            self._tell("loading the new base model as it was written")
            difference = max(difference, self._refuse_other_on_disk(staging, tried))
            loss_after = self._loss_in_four_bits(staging, tried)
            self._tell("keeping the state before as a version")
            kept_as = self._keep()
            failpoint("consolidate.kept")
            sha256 = fingerprint(staging)
            base = publish_base(
                self._models, staging, global_step=manifest.progress.global_step, sha256=sha256
            )
        done = Consolidation(
            at=utc_text(self._clock()),
            global_step=manifest.progress.global_step,
            base=str(base.relative_to(self._models)),
            base_sha256=sha256,
            merged=self._checkpoint.path.name,
            kept_as=kept_as,
            max_difference=difference,
        )
        self._tell("publishing a checkpoint with a fresh adapter")
        trainer = self._fresh_trainer(base)
        origin = origin_of(
            self._settings, trainer, before=manifest, unlocked=unlocked, base_sha256=sha256
        ).model_copy(update={"consolidations": (*manifest.consolidations, done)})
        checkpoint = self._publish(trainer, origin)
        return Consolidated(
            checkpoint=checkpoint.path.name,
            consolidation=done,
            rows=len(tried.behaviour.logits),
            answers=len(tried.behaviour.answers),
            loss_before=tried.loss,
            loss_after=loss_after,
        )

    def _refuse_unmeasurable(self) -> None:
        """Make sure that there are rows which show what 4 bits do to the merged weights.

        Raises:
            BadConfig: there are none.
        """
        if self._is_quantised and not self._settings.validation.file:
            raise BadConfig(
                'training.method is "qlora", so the merged weights are rounded to 4 bits again, and only '
                "rows show what that does; expected a validation.file; set it, and try again"
            )

    # ---- merge

    def _stage_merged(self, staging: Path) -> tuple[_Tried, float]:
        """Write the merged model; return what was tried before, and how far logits differ since."""
        self._tell("loading the model with its adapter")
        loaded = load_starting_model(
            self._plain,
            self._checkpoint,
            make_profile(
                self._settings.profile.name, self._settings.profile.options, base_dir=self._order.base_dir
            ),
            base_dir=self._order.base_dir,
            models=self._models,
            tell=self._tell,
        )
        model = self._on_device(loaded.model)
        trial = make_trial(self._settings, self._order.base_dir, model, loaded.tokenizer)
        tried = _Tried(trial, behaviour_of(model, loaded.tokenizer, trial), self._loss_of(model, trial))
        self._tell("merging")
        merged = merge(self._with_whole_weights(model))
        found = behaviour_of(merged, loaded.tokenizer, trial)
        difference = refuse_other_behaviour(tried.behaviour, found, what="the merged model")
        num_weights = sum(weight.numel() for weight in merged.parameters())
        require_room(self._models, FP32_BYTES * num_weights + self._checkpoint.manifest.total_bytes)
        with _full_disk_named():
            merged.save_pretrained(staging)
            save_tokenizer(loaded.tokenizer, staging)
        return tried, difference

    def _with_whole_weights(self, model: PreTrainedModel) -> PreTrainedModel:
        """Unpack weights of 4 bits. PEFT would round the sum to 4 bits (peft#2321)."""
        if not self._is_quantised:
            return model
        base = cast(Any, model).unload().dequantize(torch.float32)
        return load_adapter(base, self._checkpoint.path, self._settings.training)

    def _refuse_other_on_disk(self, staging: Path, tried: _Tried) -> float:
        """Make sure that what was written is the model, too; return how far logits differ."""
        gc.collect()
        written, tokenizer = load_model(staging, **self._template)
        found = behaviour_of(self._on_device(written), tokenizer, tried.trial)
        return refuse_other_behaviour(tried.behaviour, found, what="the new base model on the disk")

    def _loss_in_four_bits(self, staging: Path, tried: _Tried) -> float | None:
        """Return the loss as training continues, if that is in 4 bits.

        Raises:
            UnusableModel: it would be worse.
        """
        if tried.loss is None:
            return None
        gc.collect()
        model, _ = load_model(staging, **self._template, options=quantization_options(self._plain.training))
        loss = self._loss_of(model.eval(), tried.trial)
        assert loss is not None
        if loss > tried.loss * (1 + MAX_LOSS_INCREASE):
            raise UnusableModel(
                f"rounded to 4 bits again, the merged model has a validation loss of {loss:.4f}; expected "
                f"{tried.loss * (1 + MAX_LOSS_INCREASE):.4f} at most (with the adapter it is "
                f'{tried.loss:.4f}); nothing was changed; training.method "lora" in a working directory of '
                "its own has no such loss"
            )
        return loss

    def _loss_of(self, model: PreTrainedModel, trial: Trial) -> float | None:
        if not self._is_quantised:
            return None
        losses = row_losses(model.eval(), trial.validation, tell=lambda done: None)
        return sum(row.summed for row in losses) / max(1, sum(row.tokens for row in losses))

    def _on_device(self, model: PreTrainedModel) -> PreTrainedModel:
        if not self._is_quantised:  # else it is there, and what is unpacked stays there
            use_gpu = self._settings.training.device != "cpu" and torch.cuda.is_available()
            model.to("cuda" if use_gpu else "cpu")  # type: ignore[arg-type]  # by name as well
        return model

    # ---- publish

    def _keep(self) -> str:
        """Make the state before a version, unless it is one; return the id."""
        version = Versions(self._models, clock=self._clock).create(
            self._checkpoint.path,
            made_by="consolidate",
            trained=self._order.trained_since,
            suites=self._order.suites,
            write_card=write_card,
        )
        return version.id

    def _fresh_trainer(self, base: Path) -> FeedingTrainer:
        """Load the new base model as training does, with matrices that change nothing yet."""
        gc.collect()
        training, manifest = self._settings.training, self._checkpoint.manifest
        model, tokenizer = load_model(base, **self._template, options=quantization_options(training))
        if self._is_quantised:
            stay_trainable(model)
        # Another start for each adapter, or it would begin in the directions of the one before
        seeded = training.model_copy(update={"seed": training.seed + len(manifest.consolidations) + 1})
        adapter = add_adapter(model, seeded, trained_rows=trained_rows_of(self._checkpoint.path))
        return FeedingTrainer(
            adapter,
            tokenizer,
            training,
            scratch=self._models / STAGING,
            global_step=manifest.progress.global_step,
            strategy=load_forward_strategy(self._checkpoint.path),
        )

    def _publish(self, trainer: FeedingTrainer, origin: Origin) -> Checkpoint:
        progress = self._checkpoint.manifest.progress.without_average()
        if self._is_quantised:  # rounding has changed the loss that was measured
            progress = progress.model_copy(update={"validated_step": None})
        gate = self._gate_memory()
        steps = load_steps(self._checkpoint.path)

        def write(folder: Path) -> None:
            write_checkpoint_files(trainer, steps, folder, uses_adapter=True)
            write_gate(folder, gate)

        saving = self._store.save(
            write, origin=origin, progress=progress, rules=retention_of(self._settings.checkpoints)
        )
        return saving.result()

    def _gate_memory(self) -> GateState:
        """Return what the gate remembers, so that files that wait for their verdict still get one."""
        gate = read_gate(self._checkpoint.path)
        # What was measured last is measured again where rounding has changed it
        return gate.model_copy(update={"latest": None}) if self._is_quantised else gate


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, RuntimeError) as error:  # how these libraries report a full disk
        raise OSError(f"the new base model cannot be written: {error}; is the disk full?") from error
