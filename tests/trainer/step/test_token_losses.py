"""The loss of each token, whichever way rows go through a model: what adds up to the loss that is trained."""

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoModelForCausalLM

from trainer.data.rendering.example import example_of
from trainer.step import loss
from trainer.step.forward import Forward, ForwardStrategy

WAYS = [
    ForwardStrategy(lays_end_to_end=joined, calls_head_apart=apart)
    for joined in (False, True)
    for apart in (False, True)
]
ROWS = [  # of different lengths, with targets in several places
    example_of(list(range(5, 12)), [(2, 4), (6, 7)], is_truncated=False),
    example_of(list(range(40, 53)), [(9, 13)], is_truncated=False),
    example_of(list(range(70, 75)), [(0, 5)], is_truncated=False),  # nothing predicts its first token
]


@pytest.mark.parametrize("strategy", WAYS, ids=str)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_losses_of_the_tokens_add_up_row_by_row(tiny_folder, monkeypatch, strategy, precision):
    monkeypatch.setattr(loss, "_chunk_rows", lambda device, vocabulary: 2)  # so that there are several chunks
    forward = Forward(AutoModelForCausalLM.from_pretrained(tiny_folder).eval(), strategy)
    is_half = precision is torch.bfloat16

    with torch.no_grad(), torch.autocast("cpu", dtype=precision) if is_half else nullcontext():
        losses, hits = forward.token_losses(ROWS)
        alone = [float(forward.summed_loss([row])) for row in ROWS]

    parts = torch.split(losses, [row.supervised_tokens for row in ROWS])
    assert [float(part.sum()) for part in parts] == pytest.approx(alone, rel=2e-2 if is_half else 1e-4)
    assert len(hits) == sum(row.supervised_tokens for row in ROWS) == 11


def test_a_token_is_hit_if_the_model_would_choose_it(tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    prompt = [5, 6, 7]
    with torch.no_grad():
        chosen = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
    forward = Forward(model, ForwardStrategy(lays_end_to_end=True, calls_head_apart=True))

    _, hits = forward.token_losses(
        [
            example_of([*prompt, chosen], [(3, 4)], is_truncated=False),
            example_of([*prompt, chosen + 1], [(3, 4)], is_truncated=False),
        ]
    )

    assert hits.tolist() == [True, False]
