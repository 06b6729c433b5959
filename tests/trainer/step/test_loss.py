"""The loss of a step does not depend on how its rows are split or laid out, and equals the library's own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tests.support import row
from trainer.data.formats import read_conversation
from trainer.data.rendering.render import IGNORED, Example, learnable, render_examples
from trainer.step import loss as loss_module
from trainer.step.forward import Forward, ForwardStrategy
from trainer.step.loss import summed_cross_entropy

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def examples(tiny_folder) -> list[Example]:
    """Return rows of very different lengths, with and without anything to learn."""
    contents = [row(f"Say {i} " * (1 + 7 * i), f"{i} it is. " * (6 - i)) for i in range(5)]
    conversations = [read_conversation(content) for content in contents]
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    return learnable(render_examples(conversations, tokenizer, max_length=2048))


@pytest.fixture(params=["plain", "head apart", "end to end", "filled up"])
def forward(request, tiny_folder) -> Forward:
    """Return each way through a fresh model."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    match request.param:
        case "plain":
            return Forward(model, ForwardStrategy())
        case "head apart":
            return Forward(model, ForwardStrategy(calls_head_apart=True))
        case "end to end":
            return Forward(model, ForwardStrategy(lays_end_to_end=True, calls_head_apart=True))
        case _:
            strategy = ForwardStrategy(lays_end_to_end=True, calls_head_apart=True, rounds_weights=True)
            return Forward(model, strategy)


def step(forward: Forward, groups: list[list[Example]], num_items: int) -> tuple[float, list[Tensor]]:
    """Return loss and gradients of one optimizer step made of `groups`."""
    forward._model.zero_grad()
    total = 0.0
    for group in groups:
        loss = forward.summed_loss(group) / num_items
        loss.backward()
        total += loss.item()
    return total, [parameter.grad.clone() for parameter in forward._model.parameters()]


def assert_close(found: tuple[float, list[Tensor]], expected: tuple[float, list[Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=TOLERANCE)
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


def library_step(model: PreTrainedModel, examples: list[Example]) -> tuple[float, list[Tensor]]:
    """Return loss and gradients as transformers computes them on one padded batch with an attention mask."""
    longest = max(len(example.token_ids) for example in examples)
    fillers = [longest - len(example.token_ids) for example in examples]
    rows = list(zip(examples, fillers, strict=True))
    model.set_attn_implementation("sdpa")
    model.zero_grad()
    loss = model(
        input_ids=torch.tensor([example.token_ids + [0] * filler for example, filler in rows]),
        attention_mask=torch.tensor(
            [[1] * len(example.token_ids) + [0] * filler for example, filler in rows]
        ),
        labels=torch.tensor([example.labels + [IGNORED] * filler for example, filler in rows]),
    ).loss
    loss.backward()
    return loss.item(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("max_tokens", [1, 150, 400, 10**6])
def test_a_step_is_the_librarys_own_however_its_rows_are_split(forward, examples, max_tokens):
    num_items = sum(example.supervised_tokens for example in examples)
    groups = forward.split(examples, max_tokens=max_tokens)

    found = step(forward, groups, num_items)

    assert_close(found, library_step(forward._model, examples))
    assert (len(groups) == len(examples)) == (max_tokens == 1)


def test_a_row_beside_others_has_the_loss_it_has_alone(forward, examples):
    with torch.no_grad():
        alone = [forward.summed_loss([example]).item() for example in examples]
        together = forward.summed_loss(examples).item()

    assert together == pytest.approx(sum(alone), rel=1e-6)


def test_what_a_row_says_changes_no_loss_of_its_neighbours(forward, examples):
    first, second, third = examples[0], examples[1], examples[2]
    silent = Example(second.token_ids, [IGNORED] * len(second.token_ids), 0, is_truncated=False)
    other = Example([7] * len(second.token_ids), silent.labels, 0, is_truncated=False)

    with torch.no_grad():
        losses = [forward.summed_loss([first, middle, third]).item() for middle in (silent, other)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_rows_without_anything_to_learn_give_a_loss_of_zero_and_no_gradient(forward, examples):
    nothing = Example(examples[0].token_ids, [IGNORED] * len(examples[0].token_ids), 0, is_truncated=True)

    loss, gradients = step(forward, [[nothing]], num_items=1)

    assert loss == 0.0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients)


# ---- the head


@pytest.mark.parametrize("positions", [0, 1, 64, 65, 300])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_loss_and_gradients_in_chunks_are_those_of_all_logits_at_once(monkeypatch, positions, is_frozen):
    monkeypatch.setitem(loss_module.LOGITS_BYTES, "cpu", 1)  # so that chunks are as small as they may be
    torch.manual_seed(3)
    head = nn.Linear(16, 50, bias=False).requires_grad_(not is_frozen)
    hidden = torch.randn(positions, 16, requires_grad=True)
    targets = torch.randint(50, (positions,))
    expected = 0.25 * cross_entropy(head(hidden), targets, reduction="sum")
    factors = [hidden] if is_frozen else [hidden, head.weight]
    expected_gradients = torch.autograd.grad(expected, factors)

    found = 0.25 * summed_cross_entropy(hidden, head, targets)

    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(torch.autograd.grad(found, factors), expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=TOLERANCE)


def test_in_half_precision_the_gradient_of_the_head_is_added_up_in_full(monkeypatch):
    monkeypatch.setitem(loss_module.LOGITS_BYTES, "cpu", 1)
    torch.manual_seed(3)
    head = nn.Linear(16, 50, bias=False)
    hidden = torch.randn(300, 16, requires_grad=True)
    targets = torch.randint(50, (300,))
    expected = torch.autograd.grad(cross_entropy(head(hidden), targets, reduction="sum"), head.weight)[0]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        summed_cross_entropy(hidden, head, targets).backward()

    assert head.weight.grad.dtype == torch.float32
    torch.testing.assert_close(head.weight.grad, expected, rtol=0.05, atol=0.05)


def test_with_rounded_weights_the_gradient_of_the_head_is_added_up_in_full(monkeypatch):
    monkeypatch.setitem(loss_module.LOGITS_BYTES, "cpu", 1)
    torch.manual_seed(3)
    head = nn.Linear(16, 50, bias=False).bfloat16()
    head.weight.grad_dtype = torch.float32
    hidden = torch.randn(6400, 16).bfloat16()
    targets = torch.randint(50, (6400,))
    exact = head.weight.detach().float().requires_grad_()
    cross_entropy(hidden.float() @ exact.t(), targets, reduction="sum").backward()

    summed_cross_entropy(hidden, head, targets).backward()

    assert head.weight.grad.dtype == torch.float32
    error = (head.weight.grad - exact.grad).norm() / exact.grad.norm()
    assert error < 2**-8  # a hundred chunks added up in bf16 are off by several times as much


def test_the_loss_of_a_hopeless_prediction_stays_finite():
    head = nn.Linear(2, 3, bias=False)
    head.weight.data = torch.tensor([[1000.0, 0.0], [0.0, 0.0], [0.0, 0.0]])

    loss = summed_cross_entropy(torch.tensor([[1.0, 0.0]]), head, torch.tensor([1]))

    assert loss.item() == 1000.0


@pytest.mark.parametrize("number", [1, 5, 64, 65])
def test_positions_that_fill_up_a_product_in_bf16_add_nothing(monkeypatch, number):
    torch.manual_seed(1)
    hidden = torch.randn(number, 16).bfloat16()
    head = nn.Linear(16, 99, bias=False).bfloat16()
    targets = torch.randint(99, (number,))

    def gradients() -> list[Tensor]:
        states = hidden.clone().requires_grad_()
        head.zero_grad()
        loss = summed_cross_entropy(states, head, targets)
        loss.backward()
        return [loss.detach(), states.grad, head.weight.grad]

    filled_up = gradients()
    monkeypatch.setattr(loss_module, "_filled_up", lambda states: states)

    for found, expected in zip(filled_up, gradients(), strict=True):
        torch.testing.assert_close(found, expected)
