"""Generate text with the model that is being trained, as it would come from its checkpoint.

Training computes in ways of its own (rows end to end, half precision, compiled layers). For as long as texts
are generated they are put aside; the weights, and the random numbers that training depends on, stay as they
are. Shapes: T = tokens so far, V = vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from trainer.evaluation.padded_batch import tolerance_of
from trainer.evaluation.stop_strings import StopStrings
from trainer.evaluation.together import Continuation, Ends, Prompt, batches_of, go_on_together
from trainer.profiles.base import Generation
from trainer.protocol.faults import is_out_of_memory
from trainer.protocol.messages import EndedBy
from trainer.step.feeding_trainer import FeedingTrainer
from trainer.step.forward import base_of


@dataclass(frozen=True)
class GenerationLimits:
    """When generation ends at the latest.

    Args:
        may_go_on: asked after every token.
    """

    max_new_tokens: int
    may_go_on: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Generated:
    """A text and why it ends."""

    text: str
    ended_by: EndedBy


class _Permission:
    """Asks whether generation may go on, until the answer is no."""

    def __init__(self, may_go_on: Callable[[], bool]) -> None:
        self._may_go_on = may_go_on
        self._is_over = False

    def __call__(self) -> bool:
        self._is_over = self._is_over or not self._may_go_on()
        return not self._is_over


class TextGenerator:
    """Generates texts; made by `generating`, and valid inside of it.

    Args:
        how: as the data profile says.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, how: Generation, ends: Sequence[int]
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._how = how
        self._ends = ends
        self._stop_strings = StopStrings(tokenizer, how.stop_strings)

    def generate(
        self, token_ids: list[int], limits: GenerationLimits, *, temperature: float = 0.0, seed: int = 0
    ) -> Generated:
        """Go on after a prompt: with the likeliest token each time or, by chance, at a temperature above 0.

        Args:
            seed: for the choice by chance; what it draws from is put back as it was.
        """
        prompt = torch.tensor([token_ids], device=self._model.device)
        stop = _Stop(self._stop_strings, limits, len(token_ids))
        config = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        with _own_random_numbers(self._model.device, seed) if temperature else nullcontext():
            generate = cast(Any, self._model).generate
            output = generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=limits.max_new_tokens,
                logits_processor=self._processors(),
                stopping_criteria=StoppingCriteriaList([stop]),
                **config,
            )
        new = output[0, len(token_ids) :].tolist()
        has_ended = bool(new) and new[-1] in self._ends
        ended_by: EndedBy = "end" if has_ended or stop.has_seen_string else "tokens"
        if stop.is_cut and not has_ended:
            ended_by = "time"
        return self._generated(new, ended_by)

    def generate_each(
        self, prompts: Sequence[Prompt], *, max_tokens: int, may_go_on: Callable[[], bool] = lambda: True
    ) -> list[Generated]:
        """Go on after each prompt as `generate` does, with the likeliest token each time, but many at once.

        A model that cannot do that goes on after one prompt at a time.

        Args:
            max_tokens: that may go through the model, and be kept, at once. A longer text goes alone.
            may_go_on: asked before the first and after every token. If not, whatever has not ended does.
        """
        permission = _Permission(may_go_on)
        can_go_together = len(prompts) > 1 and tolerance_of(self._model) is not None
        batches = list(batches_of(prompts, max_tokens=max_tokens)) if can_go_together else []
        found: dict[int, Generated] = {}
        for places in batches or [[place] for place in range(len(prompts))]:
            texts = self._go_on_together([prompts[place] for place in places], permission)
            found.update(zip(places, texts, strict=True))
        return [found[place] for place in range(len(prompts))]

    def _go_on_together(self, prompts: Sequence[Prompt], permission: _Permission) -> list[Generated]:
        if len(prompts) == 1:
            return [self._go_on_alone(prompts[0], permission)]
        tolerance = tolerance_of(self._model)
        assert tolerance is not None, "a model that rounds coarsely goes on after one prompt at a time"
        rows = [Continuation(prompt, self._processors()) for prompt in prompts]
        ends = Ends(self._ends, self._stop_strings)
        has_memory = True
        try:
            go_on_together(self._model, rows, ends, tolerance=tolerance, may_go_on=permission)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            has_memory = False
        if not has_memory:  # out here, where the exception no longer holds the tensors
            FeedingTrainer.free_memory(self._model)
            half = len(prompts) // 2
            parts = (prompts[:half], prompts[half:])
            return [text for part in parts for text in self._go_on_together(part, permission)]
        return [
            self._go_on_alone(row.prompt, permission)
            if row.ended_by is None
            else self._generated(row.new_tokens, row.ended_by)
            for row in rows
        ]

    def _go_on_alone(self, prompt: Prompt, permission: _Permission) -> Generated:
        if not permission():
            return Generated("", "time")
        return self.generate(prompt.token_ids, GenerationLimits(prompt.max_new_tokens, permission))

    def _generated(self, new_tokens: list[int], ended_by: EndedBy) -> Generated:
        kept = new_tokens[:-1] if new_tokens and new_tokens[-1] in self._ends else new_tokens
        return Generated(str(self._tokenizer.decode(kept, clean_up_tokenization_spaces=False)), ended_by)

    def _processors(self) -> LogitsProcessorList:
        return LogitsProcessorList([make(self._tokenizer) for make in self._how.logits_processors])


class _Stop(StoppingCriteria):
    """Ends generation at a stop string, or when it may not continue."""

    def __init__(self, strings: StopStrings, limits: GenerationLimits, prompt_tokens: int) -> None:
        self._strings = strings
        self._limits = limits
        self._prompt_tokens = prompt_tokens
        self.has_seen_string = False
        self.is_cut = False

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.has_seen_string = self._strings.are_seen_in(input_ids[0, self._prompt_tokens :].tolist())
        if not self.has_seen_string:
            self.is_cut = not self._limits.may_go_on()
        return torch.tensor([self.has_seen_string or self.is_cut], device=input_ids.device)


@contextmanager
def generating(trainer: FeedingTrainer, how: Generation) -> Iterator[TextGenerator]:
    """Put aside, for as long as the block runs, what is there for training alone."""
    model = base_of(trainer.model)
    trainer.model.eval()
    try:
        with (
            trainer.forward.own_attention(),
            _not_compiled(model),
            _without_autocast(model),
            generating_alone(model, trainer.processing_class, how) as generator,
        ):
            yield generator
    finally:
        trainer.model.train()


@contextmanager
def generating_alone(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, how: Generation
) -> Iterator[TextGenerator]:
    """Generate with a model that is not being trained, and is in evaluation mode."""
    own_config = model.generation_config
    ends = end_tokens(model, tokenizer)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0] if ends else 0
    # One of ours, as the model's own may repeat, penalise or choose by chance
    model.generation_config = GenerationConfig(eos_token_id=ends or None, pad_token_id=padding)
    try:
        with torch.no_grad():
            yield TextGenerator(model, tokenizer, how, ends)
    finally:
        model.generation_config = own_config


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens with which the model's texts end."""
    own = getattr(model.generation_config, "eos_token_id", None)
    found = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
    return sorted({token for token in found if token is not None})


@contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type="cuda" if devices else "cpu"):
        torch.manual_seed(seed)
        yield


def _not_compiled(model: PreTrainedModel) -> AbstractContextManager[Any]:
    """Leave compiled layers alone: each length of a text would be compiled anew."""
    if any(getattr(module, "_compiled_call_impl", None) for module in model.modules()):
        return cast(AbstractContextManager[Any], torch.compiler.set_stance("force_eager"))
    return nullcontext()


@contextmanager
def _without_autocast(model: PreTrainedModel) -> Iterator[None]:
    """Compute in the precision of the weights. Training wraps the model's forward in autocast for good."""
    original = vars(model).get("_original_forward")
    if original is None:
        yield
        return
    wrapped, model.forward = model.forward, original
    try:
        yield
    finally:
        model.forward = wrapped
