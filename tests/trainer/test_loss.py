"""The loss of a step does not depend on how its rows are split or padded, and equals the library's own."""

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tests.support import row
from trainer.core.loss import supervised_loss
from trainer.core.micro_batches import split_by_tokens, to_tensors
from trainer.data.formats import read_conversation
from trainer.data.render import IGNORED, Example, render_examples

CPU = torch.device("cpu")
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def model(tiny_folder) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_folder)


@pytest.fixture(scope="module")
def examples(tiny_folder) -> list[Example]:
    """Return rows of very different lengths, with and without anything to learn."""
    contents = [row(f"Say {i} " * (1 + 7 * i), f"{i} it is. " * (6 - i)) for i in range(5)]
    conversations = [read_conversation(content) for content in contents]
    return render_examples(conversations, AutoTokenizer.from_pretrained(tiny_folder), max_length=2048)


def step(model: PreTrainedModel, groups: list[list[Example]], num_items: int) -> tuple[float, list[Tensor]]:
    """Return loss and gradients of one optimizer step made of `groups`."""
    model.zero_grad()
    total = 0.0
    for group in groups:
        batch = to_tensors(group, CPU)
        loss = supervised_loss(model, batch.token_ids, batch.labels, num_items=num_items)
        loss.backward()
        total += loss.item()
    return total, [parameter.grad.clone() for parameter in model.parameters()]


def assert_close(found: tuple[float, list[Tensor]], expected: tuple[float, list[Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=TOLERANCE)
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


def library_step(model: PreTrainedModel, examples: list[Example]) -> tuple[float, list[Tensor]]:
    """Return loss and gradients as transformers computes them on one padded batch with an attention mask."""
    batch = to_tensors(examples, CPU)
    lengths = torch.tensor([len(example.token_ids) for example in examples])
    mask = (torch.arange(batch.token_ids.shape[1]) < lengths[:, None]).long()
    model.zero_grad()
    loss = model(input_ids=batch.token_ids, attention_mask=mask, labels=batch.labels).loss
    loss.backward()
    return loss.item(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("max_tokens", [1, 150, 400, 10**6])
def test_a_step_is_the_librarys_own_however_its_rows_are_split(model, examples, max_tokens):
    num_items = sum(example.supervised_tokens for example in examples)
    groups = split_by_tokens(examples, max_tokens=max_tokens)

    found = step(model, groups, num_items)

    assert_close(found, library_step(model, examples))
    assert (len(groups) == len(examples)) == (max_tokens == 1)


def test_padding_changes_nothing(model, examples):
    alone = examples[0]
    filling = [0] * 300
    padded = Example(
        alone.token_ids + filling, alone.labels + [IGNORED] * 300, alone.supervised_tokens, is_truncated=False
    )

    found = step(model, [[padded]], alone.supervised_tokens)

    assert_close(found, step(model, [[alone]], alone.supervised_tokens))


def test_what_stands_in_the_padding_changes_nothing(model, examples):
    batch = to_tensors([examples[0], examples[4]], CPU)
    other_filler = batch.token_ids.clone()
    other_filler[0, len(examples[0].token_ids) :] = 7

    with torch.no_grad():
        losses = [
            supervised_loss(model, token_ids, batch.labels, num_items=1).item()
            for token_ids in (batch.token_ids, other_filler)
        ]

    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_rows_without_anything_to_learn_give_a_loss_of_zero_and_no_gradient(model, examples):
    nothing = Example(examples[0].token_ids, [IGNORED] * len(examples[0].token_ids), 0, is_truncated=True)

    loss, gradients = step(model, [[nothing]], num_items=0)

    assert loss == 0.0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients)
