"""A Trainer that is fed optimizer steps from outside, for as long as they come.

One `train()` call lasts a whole session, however many files it sees. What the stock class would do between
steps (loaders, epochs, logging, saving) is done by the session that feeds it; what happens inside a step
(accelerator, clipping, optimizer, callbacks) stays the stock class's.
"""

import trainer.step.light_peft  # noqa: F401

# isort: split

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils.import_utils import is_torch_tf32_available

from trainer.config.loader import BadConfig
from trainer.config.schema import TrainingSettings
from trainer.data.rendering.render import Example
from trainer.protocol.faults import is_out_of_memory
from trainer.step.averaging import WeightAverage
from trainer.step.crowding import SampleCrowding, crowding_of_process
from trainer.step.forward import Forward, ForwardStrategy
from trainer.step.loss_scale import LossScale
from trainer.step.norms import speed_up_norms
from trainer.step.optimizers import STOCK_NAMES, muon_with_adamw
from trainer.step.precision import RoundedWeights, autocast_to, choose_precision, strategy_with_precision
from trainer.step.schedules import learning_rate

ENDLESS = 10**12  # optimizer steps; the feeder decides when to stop
COLLECT_EVERY = 1000  # steps of a job between two collections of garbage in cycles


AddUp = Callable[[Tensor, int], tuple[Tensor, int]]
"""(loss of the rows, tokens of a micro-batch that fitted) -> (loss of all rows, tokens that fit everywhere);
the gradients are added up, too."""


class RowLoss(NamedTuple):
    """What the model makes of one example."""

    total: float
    """Cross entropy, summed over the supervised tokens."""
    tokens: int
    """Supervised."""
    is_right: bool
    """Whether each of these is the likeliest token, so that greedy generation would yield them."""

    @property
    def mean(self) -> float:
        return self.total / max(1, self.tokens)


@dataclass
class StepBundle:
    """Everything one optimizer step is made of, and what came of it."""

    examples: list[Example]
    num_items: int
    """Supervised tokens of all examples."""
    micro_batch_tokens: int
    """Less once the step has been taken, if memory was too small for this."""
    index: int = 0
    """In the job's plan, counted from 0."""
    num_steps: int = 1
    """Of the job's plan."""
    lines: tuple[int, ...] = ()
    """The rows' numbers in their file, without replayed ones. A row may give no example, or several."""
    replayed: int = 0
    """Rows of earlier files whose examples are among them."""
    step_seed: int = 0
    """Seeds dropout and NEFTune for this step alone, so that they do not depend on what ran before it."""
    learning_rate: float = 0.0
    """This and what follows is valid once the step has been taken."""
    loss: Tensor = field(default_factory=lambda: torch.tensor(0.0))
    """Mean over the supervised tokens."""
    grad_norm: float | Tensor | None = None
    """L2 norm before clipping."""
    not_applied: str | None = None
    """Why the weights were left as they were."""


class FeedingTrainer(Trainer):
    """Takes the optimizer steps it is fed.

    Args:
        settings: of the session; what may change from file to file is changed by `use`.
        scratch: a folder the stock class insists on; nothing is written there.
        global_step: steps the model has already had in its life.
        strategy: by which rows go through the model; None takes the fastest.
        bf16_is_faster: asked about a new model on a CPU where the settings leave its precision open.
        tell: called with what a person should know.
        tick: called whenever something has been got done.
    """

    # The stock class declares these as optional; here they are there from the constructor on
    model: PreTrainedModel
    processing_class: PreTrainedTokenizerBase
    optimizer: Optimizer
    lr_scheduler: LambdaLR

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: TrainingSettings,
        *,
        scratch: Path,
        global_step: int,
        strategy: ForwardStrategy | None = None,
        bf16_is_faster: Callable[[PreTrainedModel], bool] = lambda model: False,
        tell: Callable[[str], None] = lambda text: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(model=model, args=_arguments(settings, scratch), processing_class=tokenizer)
        self.remove_callback(PrinterCallback)
        self._bundles: Iterator[StepBundle] = iter(())
        self._current: StepBundle | None = None
        self._settings = settings
        self._tell = tell
        self.tick = tick
        self.add_up: AddUp = lambda loss, tokens: (loss, tokens)
        """Brings the processes together that share the step's rows."""
        if not settings.compile:  # else the compiler does that
            speed_up_norms(model)
        chosen = strategy_with_precision(
            model, settings, self.args.device, strategy, bf16_is_faster=bf16_is_faster
        )
        self.precision = chosen.precision
        self.loss_scale = LossScale(self.args.device.type) if self.precision == "fp16" else None
        self.forward = Forward(model, chosen)
        self._rounded = RoundedWeights(model) if chosen.rounds_weights else None
        self.create_optimizer()
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.average: WeightAverage | None = None
        """Of the weights that are trained; None while none is kept."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = (
                1.0  # so that the schedule's factor is the learning rate itself
            )
        self.lr_scheduler = LambdaLR(self.optimizer, self._rate_at, last_epoch=global_step - 1)
        self.add_callback(_CarryStep(self.lr_scheduler, on_step=self._note_step))
        if self.args.device.type == "cpu" and (crowding := crowding_of_process()):
            self.add_callback(SampleCrowding(crowding))
        self.use(settings)

    def use(self, settings: TrainingSettings) -> None:
        """Apply what may change from file to file, such as schedule, weight decay, clipping and noise."""
        self._settings = settings
        self.args.max_grad_norm = settings.max_grad_norm
        *with_decay, _ = self.optimizer.param_groups  # biases and norms are the last group
        for group in with_decay:
            group["weight_decay"] = settings.weight_decay
        self.forward.neftune_alpha = settings.neftune_noise_alpha
        if settings.activation_checkpointing != "auto":
            self.checkpoint_activations(settings.activation_checkpointing == "on")

    def use_average(self, settings: TrainingSettings) -> None:
        """Keep an average from here on if the settings want one: the present one, if there is one like it."""
        if settings.average == "none":
            self.average = None
        elif self.average is None or self.average.kind != settings.average:
            self.average = WeightAverage(self._trained, settings.average, settings.average_steps)
        else:
            self.average.steps = settings.average_steps

    def continue_average(self, state: dict[str, Any] | None) -> None:
        """Continue the average of a checkpoint; None is that of one without."""
        self.average = WeightAverage.of_state(self._trained, state) if state else None

    def _note_step(self) -> None:
        if self.average:
            self.average.note_step()

    @property
    def prefers_average(self) -> bool:
        """Whether the averaged weights are those to be judged and served."""
        return self.average is not None and self._settings.preferred_weights == "average"

    def with_preferred_weights(self) -> AbstractContextManager[None]:
        """Let the model have the weights to be judged and served while the block lasts."""
        return self.average.in_place() if self.average and self.prefers_average else nullcontext()

    def checkpoint_activations(self, on: bool) -> None:
        """Have activations computed again in the backward pass instead of kept, or not.

        Raises:
            BadConfig: the model cannot do that.
        """
        if not on:
            self.model.activation_checkpointing_disable()
        elif self.model.supports_gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            raise BadConfig(
                f'training.activation_checkpointing is "{self._settings.activation_checkpointing}", but '
                f'models of type "{self.model.config.model_type}" cannot recompute activations; use "off"'
            )

    @property
    def learning_rate(self) -> float:
        """The learning rate of a step at this age of the model, at the start of a file."""
        return self._rate_at(self.lr_scheduler.last_epoch)

    def _rate_at(self, global_step: int) -> float:
        return learning_rate(self._settings, global_step=global_step)

    def feed(self, bundles: Iterator[StepBundle]) -> None:
        """Take one optimizer step per bundle until `bundles` ends.

        What came of a step is in its bundle by the time the next one is asked for.
        """
        self._bundles = bundles
        self.model.train()
        gc.freeze()  # what is there by now stays; searching it took longer than many a step
        gc.disable()
        try:
            self.train()
        finally:
            gc.enable()
            gc.unfreeze()

    # ---- what the stock class calls

    def get_train_dataloader(self) -> Any:
        return _NoLoader()

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """Step with the optimizer itself: accelerate's wrapper searches the disk at every step."""
        prepared = super()._prepare_for_training(*args, **kwargs)  # type: ignore[no-untyped-call]  # not annotated
        self.optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return prepared

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Fetch the next step. This is the step boundary: the weights are those after the last whole step."""
        bundle = next(self._bundles, None)
        if bundle is None:
            self.control.should_training_stop = True
            return [], None
        if bundle.index % COLLECT_EVERY == 0:  # also at the beginning of each file
            gc.collect()
        return [bundle], bundle.num_items

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Compute the gradient of one whole optimizer step, micro-batch by micro-batch."""
        bundle: StepBundle = inputs
        self._current = bundle
        self._set_learning_rate(bundle)
        while True:
            try:
                loss = self._gradient_within_range(model, bundle)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._can_need_less(bundle):
                    raise
            # Out here, where the exception no longer holds the tensors
            self.free_memory(model)
            self._need_less(bundle)
        bundle.loss, bundle.micro_batch_tokens = self.add_up(loss, bundle.micro_batch_tokens)
        return bundle.loss

    def _set_learning_rate(self, bundle: StepBundle) -> None:
        """The schedule is a function of the step's place, so there is nothing in it to save or to restart."""
        bundle.learning_rate = learning_rate(
            self._settings,
            global_step=self.lr_scheduler.last_epoch,
            step=bundle.index,
            num_steps=bundle.num_steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = bundle.learning_rate

    def _gradient_within_range(self, model: nn.Module, bundle: StepBundle) -> Tensor:
        """Compute the gradient; in fp16 again, while it overflows and a lower scale may help."""
        loss = self.gradient(model, bundle)
        if not bundle.examples:
            return loss  # there is no gradient that could overflow
        while self.loss_scale and self.loss_scale.unscale(self.optimizer) and torch.isfinite(loss):
            model.zero_grad(set_to_none=True)
            loss = self.gradient(model, bundle)
        return loss

    def gradient(self, model: nn.Module, bundle: StepBundle) -> Tensor:
        """Add up the gradient of all rows; return their loss."""
        self._seed(bundle.step_seed)
        total = torch.zeros((), device=self.args.device)
        with self._rounding():
            for rows in self.forward.split(bundle.examples, max_tokens=bundle.micro_batch_tokens):
                # By the tokens of the whole step, so that it does not matter how its rows are split
                loss = self._summed_loss(rows) / max(1, bundle.num_items)
                scaled = self.loss_scale.scale(loss) if self.loss_scale else loss
                scaled.backward()  # type: ignore[no-untyped-call]  # not annotated
                total += loss.detach()
                self.tick()
        return total

    def _seed(self, seed: int) -> None:
        """Seed what this step draws from. `torch.manual_seed` goes through every kind of device."""
        torch.default_generator.manual_seed(seed)
        if self.args.device.type != "cpu":
            torch.get_device_module(self.args.device).manual_seed(seed)

    def _summed_loss(self, rows: list[Example]) -> Tensor:
        with self._autocast():
            return self.forward.summed_loss(rows)

    @torch.no_grad()
    def mean_loss(self, examples: list[Example], *, max_tokens: int) -> float:
        """Return the mean cross entropy over all supervised tokens of `examples`; nothing is trained."""
        num_items = sum(example.supervised_tokens for example in examples)
        total = torch.zeros((), device=self.args.device)
        self.model.eval()
        try:
            with self._rounding():
                for rows in self.forward.split(examples, max_tokens=max_tokens):
                    total += self._summed_loss(rows)
                    self.tick()
        finally:
            self.model.train()
        return float(total) / max(1, num_items)

    @torch.no_grad()
    def row_losses(self, examples: list[Example], *, max_tokens: int) -> list[RowLoss]:
        """Return what the model makes of each example, in their order; nothing is trained."""
        found: dict[int, RowLoss] = {}
        self.model.eval()
        try:
            with self._rounding():
                for rows in self.forward.split(examples, max_tokens=max_tokens):
                    found |= self._losses_by_row(rows)
                    self.tick()
        finally:
            self.model.train()
        return [found[id(example)] for example in examples]

    def _losses_by_row(self, rows: list[Example]) -> dict[int, RowLoss]:
        """Return the losses of one micro-batch by `id` of the row."""
        with self._autocast():
            losses, hits = self.forward.token_losses(rows)
        sizes = [row.supervised_tokens for row in rows]
        # Added up here, where the order is always the same
        totals = torch.split(losses.double().cpu(), sizes)
        parts = zip(totals, torch.split(hits.cpu(), sizes), strict=True)
        return {
            id(row): RowLoss(float(of_row.sum()), row.supervised_tokens, bool(right.all()))
            for row, (of_row, right) in zip(rows, parts, strict=True)
        }

    def _can_need_less(self, bundle: StepBundle) -> bool:
        return self._smaller_micro_batch(bundle) is not None or self._may_checkpoint_activations()

    def _may_checkpoint_activations(self) -> bool:
        is_left_open = self._settings.activation_checkpointing == "auto"
        can = self.model.supports_gradient_checkpointing and not self.model.is_activation_checkpointing
        return is_left_open and can

    def _need_less(self, bundle: StepBundle) -> None:
        """Have the step repeated in smaller parts or, where each is one row, without keeping activations."""
        tokens, smaller = bundle.micro_batch_tokens, self._smaller_micro_batch(bundle)
        if smaller is None:
            self.checkpoint_activations(True)
            self._tell("memory was too small for a single row; from now on activations are recomputed")
            return
        bundle.micro_batch_tokens = smaller
        self._tell(
            f"memory was too small for micro-batches of {tokens} tokens; the step is repeated with {smaller}"
        )

    def _smaller_micro_batch(self, bundle: StepBundle) -> int | None:
        """Return a number of tokens that splits the step further; None when every row goes alone already."""
        groups = self.forward.split(bundle.examples, max_tokens=bundle.micro_batch_tokens)
        sizes = [sum(len(row.token_ids) for row in rows) for rows in groups if len(rows) > 1]
        return max(1, max(sizes) // 2) if sizes else None

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Create the one that `training.optimizer` names, unless it is there."""
        if self.optimizer is None and self._settings.optimizer == "muon":
            decaying = self.get_decay_parameter_names(self.model)
            self.optimizer = muon_with_adamw(self.model, decaying, weight_decay=self.args.weight_decay)
        return super().create_optimizer(model)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the weights that decay: not biases, norms, or DoRA's magnitudes, which are like norms."""
        return [name for name in super().get_decay_parameter_names(model) if "lora_magnitude" not in name]

    def _autocast(self) -> AbstractContextManager[Any]:
        """Compute in half precision where weights are not rounded for it."""
        if self._rounded:
            return nullcontext()
        if self.args.bf16:
            return cast(AbstractContextManager[Any], self.accelerator.autocast())
        return autocast_to(self.precision, self.args.device)

    def _rounding(self) -> AbstractContextManager[None]:
        return self._rounded.in_place() if self._rounded else nullcontext()

    @staticmethod
    def free_memory(model: nn.Module) -> None:
        model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip as the stock class does, without searching all modules for the weights."""
        return nn.utils.clip_grad_norm_(self._trained, self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Inspect the gradient before it is applied. What is not finite is dropped: nothing is applied then.

        This is the one place in a step where the GPU is waited for.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]  # not annotated
        if self._current:
            self._current.grad_norm = norm
            for what, value in (("loss", self._current.loss), ("gradient", norm)):
                if not math.isfinite(value):
                    self._current.not_applied = f"the {what} is {float(value)}"
                    model.zero_grad(set_to_none=True)  # an optimizer leaves alone what has no gradient
                    break
        return norm

    def floating_point_ops(self, inputs: Any) -> int:
        """Report nothing: the stock count walks through all modules at every micro-batch."""
        return 0


class _NoLoader:
    """Stands in for the data loader, which must exist and must not have a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _CarryStep(TrainerCallback):
    """Carry the step number over, which a new `train()` call would start at zero; tell of each step taken."""

    def __init__(self, schedule: LambdaLR, on_step: Callable[[], None]) -> None:
        self._schedule = schedule
        self._on_step = on_step

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        state.global_step = self._schedule.last_epoch

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._on_step()


def _arguments(settings: TrainingSettings, scratch: Path) -> TrainingArguments:
    use_cpu = settings.device == "cpu" or not torch.accelerator.is_available()
    try:
        arguments = TrainingArguments(
            output_dir=str(scratch),
            max_steps=ENDLESS,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=1,  # a bundle is a whole step; it is split inside `training_step`
            optim=STOCK_NAMES.get(settings.optimizer, STOCK_NAMES["adamw"]),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            seed=settings.seed,
            # The stock class knows nothing of fp16 here, as it would skip steps, nor of bf16 on a CPU
            bf16=choose_precision(settings) == "bf16" and not use_cpu,
            tf32=settings.tf32 if is_torch_tf32_available() else None,
            use_cpu=use_cpu,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_nan_inf_filter=False,  # it would hide a broken loss behind the average of earlier ones
            remove_unused_columns=False,
        )
    except ValueError as error:  # what this machine cannot compute in
        raise BadConfig(f'training.precision is "{settings.precision}": {error}; use "auto"') from error
    arguments._n_gpu = min(
        1, arguments.n_gpu
    )  # with more the stock class would wrap the model in DataParallel
    return arguments
