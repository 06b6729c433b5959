"""The fast RMSNorm computes what the models' own does, and replaces nothing else."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from trainer.step.norms import speed_up_norms


def a_norm(kind: type[nn.Module], size: int = 8) -> nn.Module:
    norm = kind(size, eps=1e-6)
    norm.weight.data = torch.linspace(0.5, 1.5, size)
    return norm


@pytest.mark.parametrize("shape", [(1, 8), (2, 5, 8), (2, 3, 4, 8)])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_values_and_gradients_are_those_of_the_models_own(shape, is_frozen):
    torch.manual_seed(4)
    own, fast = a_norm(LlamaRMSNorm), a_norm(LlamaRMSNorm)
    assert speed_up_norms(fast) == 1
    inputs, wanted = torch.randn(shape), torch.randn(shape)
    results = []

    for norm in (own, fast):
        norm.weight.requires_grad_(not is_frozen)
        leaf = inputs.clone().requires_grad_()
        norm(leaf).backward(wanted)
        results.append((norm(leaf), leaf.grad, norm.weight.grad))

    for expected, found in zip(*results, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_in_bf16_sums_are_in_fp32():
    torch.manual_seed(5)
    norm = a_norm(LlamaRMSNorm, 4096)
    speed_up_norms(norm)
    inputs, wanted = torch.randn(64, 4096).bfloat16(), torch.randn(64, 4096).bfloat16()
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        norm.weight.grad = None
        norm.weight.data = norm.weight.data.bfloat16().to(dtype)
        leaf = inputs.to(dtype).requires_grad_()
        found = norm(leaf)
        found.backward(wanted.to(dtype))
        results.append([tensor.float() for tensor in (found, leaf.grad, norm.weight.grad)])

    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected.bfloat16().float(), rtol=2**-8, atol=2**-9)


def test_gradients_agree_with_finite_differences():
    norm = a_norm(LlamaRMSNorm, 4).double()
    speed_up_norms(norm)
    inputs = torch.linspace(-1, 2, 12, dtype=torch.float64).view(3, 4).requires_grad_()

    assert torch.autograd.gradcheck(norm, inputs)


def test_a_norm_that_computes_something_else_keeps_its_own():
    norm = a_norm(Gemma2RMSNorm)

    assert speed_up_norms(norm) == 0
    assert "forward" not in vars(norm)


def test_inputs_of_another_format_are_left_to_the_models_own():
    own, fast = a_norm(LlamaRMSNorm), a_norm(LlamaRMSNorm)
    speed_up_norms(fast)
    inputs = torch.linspace(-1, 2, 8, dtype=torch.bfloat16)

    assert torch.equal(fast(inputs), own(inputs))


def test_all_norms_of_a_model_are_replaced_and_its_weights_keep_their_names(tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    names = set(model.state_dict())

    assert speed_up_norms(model) == sum(name.endswith("norm.weight") for name in names)
    assert set(model.state_dict()) == names
