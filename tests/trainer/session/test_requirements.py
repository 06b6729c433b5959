"""What this machine cannot do is refused before any file is touched, with the way out."""

import sys

import pytest
import torch

from tests.trainer.engine_rig import settings_with
from trainer.config.loader import BadConfig
from trainer.config.schema import TrainingSettings
from trainer.protocol.faults import MissingDevice
from trainer.session import requirements as abilities
from trainer.session.engine import TrainerEngine
from trainer.session.requirements import refuse_impossible


def refuse(**training):
    refuse_impossible(TrainingSettings.model_validate(training))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_everything_a_plain_machine_can_do_is_let_through(no_gpu):
    refuse()
    refuse(method="lora", lora_dora=True, optimizer="muon", precision="bf16", tf32=True)


@pytest.mark.parametrize(
    "training, way_out",
    [
        ({"method": "qlora"}, 'or use "lora"'),
        ({"optimizer": "adamw_8bit"}, 'or use "adamw"'),
        ({"optimizer": "paged_adamw_8bit"}, 'or use "adamw"'),
    ],
)
def test_a_missing_library_is_named_with_what_needs_it(monkeypatch, training, way_out):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as if it were not installed
    [(name, value)] = training.items()

    with pytest.raises(
        BadConfig,
        match=rf'training\.{name} is "{value}", which needs .* bitsandbytes, .*; install .*{way_out}',
    ):
        refuse(**training)


@pytest.mark.parametrize(
    "training, message",
    [
        ({"precision": "fp16"}, r'training\.precision is "fp16", but there is no GPU .* use "auto"'),
        ({"optimizer": "paged_adamw_8bit"}, r'optimizer is "paged_adamw_8bit", .* use "adamw_8bit"'),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(no_gpu, monkeypatch, training, message):
    monkeypatch.setattr(abilities, "import_module", lambda name: None)

    with pytest.raises(BadConfig, match=message):
        refuse(**training)


def test_a_gpu_that_is_not_to_be_used_does_not_count(a_gpu):
    refuse(precision="fp16", device="auto")

    with pytest.raises(BadConfig, match="there is no GPU to compute on"):
        refuse(precision="fp16", device="cpu")


def test_processes_that_would_each_scale_their_loss_are_refused(a_gpu):
    with pytest.raises(BadConfig, match=r'precision is "fp16", but training\.processes is 2'):
        refuse(precision="fp16", device="auto", processes=2)


@pytest.mark.parametrize("has_tf32", [True, False])
def test_tf32_is_refused_only_by_a_gpu_that_lacks_it(a_gpu, monkeypatch, has_tf32):
    monkeypatch.setattr(abilities, "is_torch_tf32_available", lambda: has_tf32)

    if has_tf32:
        refuse(tf32=True)
    else:
        with pytest.raises(BadConfig, match=r"training\.tf32 is true, but this GPU has no TF32; .* false"):
            refuse(tf32=True)


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(BadConfig, match=r'training\.compile is true, .* "no-such-compiler"; install g\+\+'):
        refuse(compile=True)


def test_nothing_is_created_before_the_refusal(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    engine = TrainerEngine(settings_with("tiny", training={"compile": True}), base_dir=tmp_path / "base")

    with pytest.raises(BadConfig):
        engine.load()

    assert not (tmp_path / "base").exists()


def test_a_gpu_that_is_asked_for_is_not_silently_replaced_by_the_cpu(no_gpu):
    with pytest.raises(MissingDevice, match=r'training\.device is "cuda", but no GPU .*"cpu"'):
        refuse(device="cuda")
