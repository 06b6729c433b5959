"""Steps for tests of the trainer: examples of any length, and bundles of them."""

from trainer.data.rendering.render import IGNORED, Example
from trainer.step.feeding_trainer import StepBundle


def example(length: int = 8, first_token: int = 300) -> Example:
    token_ids = list(range(first_token, first_token + length))
    return Example(token_ids, [IGNORED, *token_ids[1:]], length - 1, is_truncated=False)


def bundle(*examples: Example, step_seed: int = 0, micro_batch_tokens: int = 4096) -> StepBundle:
    examples = examples or (example(),)
    return StepBundle(
        examples=list(examples),
        num_items=sum(one.supervised_tokens for one in examples),
        micro_batch_tokens=micro_batch_tokens,
        step_seed=step_seed,
    )
