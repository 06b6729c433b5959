"""QLoRA: the frozen base model is kept in 4 bits, and everything else is as with LoRA."""

import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tests.support import job_for, rows, write_jsonl
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    assert_same_state,
    current,
    loaded,
    manifest_of,
    optimizer_state,
    prompt_in,
    settings_with,
    train,
    weights_sha256,
)
from trainer.config.lock import LockedSetting
from trainer.protocol.faults import UnusableModel
from trainer.protocol.messages import PreviewMade, Validated

pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

QLORA = {"method": "qlora", "lora_rank": 4, "lora_dropout": 0.2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_folder):
    """Return a working directory with an adapter, and the live engine that made it."""
    base_dir = tmp_path_factory.mktemp("qlora")
    engine = loaded(base_dir, settings_with(tiny_folder, training=QLORA))
    engine.run_job(write_jsonl(base_dir / "a.jsonl", rows(7)))
    return base_dir, engine


@pytest.mark.parametrize(
    "stop_at, training",
    [(1, {}), (4, {"lora_dora": True, "lora_rslora": True}), (3, {"optimizer": "adamw_8bit"})],
    ids=["plain", "dora", "8 bit"],
)
def test_a_stop_in_the_middle_of_a_file_changes_no_bit_of_the_result(
    tmp_path, seven_rows, noisy_folder, stop_at, training
):
    settings = settings_with(noisy_folder, training={"epochs": 2} | QLORA | training)
    jobs = [(job_for(seven_rows), seven_rows)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    train(whole, settings, jobs)
    train(stopped, settings, jobs, stop_at=stop_at)
    weights_at_stop = weights_sha256(stopped)
    train(stopped, settings, jobs)

    assert weights_sha256(stopped) == weights_sha256(whole) != weights_at_stop
    assert_same_state(optimizer_state(stopped), optimizer_state(whole))


def test_linear_layers_take_four_bits_a_weight_and_the_rest_keeps_its_precision(trained, tiny_folder):
    _, engine = trained
    layer = engine.trainer.model.base_model.model.model.layers[0].mlp.up_proj.base_layer

    base = AutoModelForCausalLM.from_pretrained(tiny_folder).model.layers[0].mlp.up_proj

    assert layer.weight.nbytes == base.weight.numel() / 2
    assert layer.weight.quant_state.nested  # quantized twice
    assert engine.trainer.model.get_input_embeddings().weight.dtype == torch.float32


def test_a_checkpoint_holds_the_matrices_alone_and_loads_beside_the_whole_base_model(trained, tiny_folder):
    base_dir, engine = trained
    prompt = prompt_in(current(base_dir))

    model = AutoModelForCausalLM.from_pretrained(current(base_dir))

    with safe_open(current(base_dir) / "adapter_model.safetensors", "pt") as file:
        assert all(".lora_" in name for name in file.keys())  # noqa: SIM118 - not a dictionary
    live, base = engine.trainer.model.eval(), AutoModelForCausalLM.from_pretrained(tiny_folder)
    with torch.no_grad():
        learned, kept = live(prompt).logits - base(prompt).logits, live(prompt).logits - model(prompt).logits
    assert kept.abs().mean() < 0.5 * learned.abs().mean()  # all that differs is the base model's rounding
    assert manifest_of(base_dir)["method"] == "qlora"


def test_a_model_of_lora_is_not_gone_on_with_in_four_bits(base_dir, seven_rows, tiny_folder):
    loaded(base_dir, settings_with(tiny_folder, training={"method": "lora"})).run_job(seven_rows)

    with pytest.raises(LockedSetting, match=r'training\.method is "qlora", .* trained with "lora"'):
        loaded(base_dir, settings_with(tiny_folder, training=QLORA))


def test_another_base_model_under_the_same_name_is_refused(tmp_path, seven_rows, noisy_folder, tiny_folder):
    base = tmp_path / "model"
    base.symlink_to(tiny_folder)
    settings = settings_with(base, training=QLORA)
    loaded(tmp_path / "base", settings).run_job(seven_rows)
    base.unlink()
    base.symlink_to(noisy_folder)

    with pytest.raises(UnusableModel, match="has the fingerprint"):
        loaded(tmp_path / "base", settings)


def test_training_goes_on_after_a_validation(tmp_path, seven_rows, tiny_folder):
    write_jsonl(tmp_path / "validation.jsonl", rows(3))
    settings = settings_with(
        tiny_folder,
        training=QLORA | {"batch_size": 2},
        validation={"file": "validation.jsonl", "interval_steps": 1},
    )

    _, told = train(tmp_path, settings, [(job_for(seven_rows), seven_rows)])

    losses = [step.loss for step in told.steps]
    assert len(told.of(Validated)) > 1
    assert losses[-1] < losses[0]


NOT_NEEDED_TO_TRAIN = {
    *("bitsandbytes", "daemon", "datasets", "IPython", "matplotlib", "pandas", "plotext", "pyarrow", "rich"),
    *("scipy", "sklearn", "tensorboard", "torch._inductor.compile_fx", "torch.utils.tensorboard"),
    *("torchvision", "typer", "wandb", "watchdog"),
}
FIRST_STEP = """
import sys
from pathlib import Path
from trainer.session.engine import TrainerEngine
from trainer.config.schema import Settings

base, rows = map(Path, sys.argv[1:3])
engine = TrainerEngine(Settings.model_validate_json(sys.argv[3]), base_dir=base)
engine.load()
engine.run_job(rows)
print(*sorted(set(sys.argv[4:]) & sys.modules.keys()))
from peft.import_utils import is_bnb_4bit_available
assert is_bnb_4bit_available()
"""


def test_a_worker_loads_only_what_it_trains_with_and_the_library_for_4_bits_when_asked(
    tmp_path, seven_rows, tiny_folder
):
    settings = settings_with(tiny_folder, training={"batch_size": 2}).model_dump_json()

    loaded = subprocess.run(
        [sys.executable, "-c", FIRST_STEP, tmp_path, seven_rows, settings, *NOT_NEEDED_TO_TRAIN],
        capture_output=True, text=True,
    )  # fmt: skip

    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, "\n", "")


def test_the_model_in_four_bits_answers_prompts_and_trains_on(tmp_path, seven_rows, tiny_folder):
    previews = {"prompts": ["Say 3."], "interval_steps": 1, "max_new_tokens": 3, "max_seconds": 600}
    asked = {"previews": previews, "monitoring": {"max_overhead_percent": 100}}
    for name, sections in {"with": asked, "without": {}}.items():
        settings = settings_with(tiny_folder, training=QLORA, **sections)
        _, told = train(tmp_path / name, settings, [(job_for(seven_rows), seven_rows)])
        assert len(told.of(PreviewMade)) == (3 if name == "with" else 0)

    assert weights_sha256(tmp_path / "with") == weights_sha256(tmp_path / "without")
