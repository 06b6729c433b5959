"""An engine that keeps an average of its weights: exact through stops, loadable, evaluated."""

import hashlib

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import FakeClock, job_for, rows, write_jsonl
from tests.trainer.engine_rig import PEFT_IS_BEHIND, assert_same_state, current, settings_with, train
from trainer.checkpoints.tensor_tree import load_tree
from trainer.protocol.checkpoints import read_manifest
from trainer.protocol.messages import Validated
from trainer.versions.model_card import write_card
from trainer.versions.registry import Versions

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

EMA = {"average": "ema", "average_steps": 3, "epochs": 2}
WINDOW = EMA | {"average": "window", "average_steps": 2}
LORA = {"method": "lora", "lora_rank": 4, "learning_rate": 1e-2}


def averaged(base_dir):
    return base_dir / "models" / "current_average"


def state_of(base_dir):
    return load_tree(current(base_dir), "state").get("average")


def version_of(base_dir):
    return Versions(base_dir / "models", clock=FakeClock()).create(
        current(base_dir).resolve(), made_by="hand", trained=lambda parent: (), write_card=write_card
    )


def sha256_of_average(base_dir):
    [file] = averaged(base_dir).glob("*model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("stop_at", [1, 4])
@pytest.mark.parametrize("training", [EMA, WINDOW, EMA | LORA], ids=["ema", "window", "lora"])
def test_a_stop_changes_no_bit_of_the_average(tmp_path, seven_rows, noisy_folder, stop_at, training):
    settings = settings_with(noisy_folder, training=training)
    jobs = [(job_for(seven_rows), seven_rows)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    train(whole, settings, jobs)
    train(stopped, settings, jobs, stop_at=stop_at)
    assert sha256_of_average(stopped) != sha256_of_average(whole)
    train(stopped, settings, jobs)

    assert sha256_of_average(stopped) == sha256_of_average(whole)
    assert_same_state(state_of(stopped), state_of(whole))


def test_keeping_an_average_changes_no_bit_of_what_is_trained(tmp_path, seven_rows, tiny_folder):
    jobs = [(job_for(seven_rows), seven_rows)]
    for name, training in {"with": EMA, "without": {"epochs": 2}}.items():
        train(tmp_path / name, settings_with(tiny_folder, training=training), jobs)

    files = [(current(tmp_path / name) / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert files[0] == files[1]
    assert not (current(tmp_path / "without") / "average").exists()
    assert not averaged(tmp_path / "without").is_symlink()


def test_the_average_loads_like_any_model(base_dir, seven_rows, tiny_folder):
    engine, _ = train(base_dir, settings_with(tiny_folder, training=EMA), [(job_for(seven_rows), seven_rows)])

    model = AutoModelForCausalLM.from_pretrained(averaged(base_dir))
    AutoTokenizer.from_pretrained(averaged(base_dir))

    means = dict(
        zip(
            (name for name, _ in engine.trainer.model.named_parameters()),
            state_of(base_dir)["newest"],
            strict=True,
        )
    )
    assert all(torch.equal(weight, means[name]) for name, weight in model.named_parameters())
    last = dict(engine.trainer.model.named_parameters())
    assert any(not torch.equal(weight, last[name]) for name, weight in model.named_parameters())


def test_a_version_has_the_average_too(base_dir, seven_rows, tiny_folder):
    train(base_dir, settings_with(tiny_folder, training=EMA), [(job_for(seven_rows), seven_rows)])

    version = version_of(base_dir)

    AutoModelForCausalLM.from_pretrained(version.path / "average")


def test_the_average_of_an_adapter_loads_beside_its_base(base_dir, seven_rows, tiny_folder):
    train(base_dir, settings_with(tiny_folder, training=EMA | LORA), [(job_for(seven_rows), seven_rows)])

    model = AutoPeftModelForCausalLM.from_pretrained(averaged(base_dir))

    found = [weight for name, weight in model.named_parameters() if "lora_" in name]
    means = state_of(base_dir)["newest"]
    assert len(found) == len(means) > 0
    assert all(torch.equal(weight, mean) for weight, mean in zip(found, means, strict=True))


def test_both_are_validated_and_the_preferred_one_is_that_of_the_checkpoint(
    base_dir, seven_rows, noisy_folder
):
    write_jsonl(base_dir / "validation.jsonl", rows(4, start=50))
    validation = {"file": "validation.jsonl", "interval_steps": 3}
    jobs = [(job_for(seven_rows), seven_rows)]

    engine, told = train(base_dir, settings_with(noisy_folder, training=EMA, validation=validation), jobs)

    *_, event = told.of(Validated)
    assert event.weights == "average"
    settings = settings_with(
        noisy_folder, training=EMA | {"preferred_weights": "last"}, validation=validation
    )
    engine.use(settings)
    found = engine.evaluator.validation_loss(settings)
    assert (found.weights, found.loss, found.other_loss) == ("last", event.other_loss, event.loss)
    assert found.loss != found.other_loss
    assert engine.progress.validation_loss == event.loss


def test_checkpoints_and_versions_keep_whose_the_validation_loss_is(base_dir, seven_rows, tiny_folder):
    settings = settings_with(tiny_folder, training=EMA, validation={"file": str(seven_rows)})

    _, told = train(base_dir, settings, [(job_for(seven_rows), seven_rows)])

    *_, event = told.of(Validated)
    progress = read_manifest(current(base_dir)).progress
    version = version_of(base_dir)
    assert (progress.validation_weights, progress.validation_other_loss) == ("average", event.other_loss)
    assert (version.record.validation_loss, version.record.validation_weights) == (event.loss, "average")
    assert "| validation of the averaged weights | |" in (version.path / "README.md").read_text()


def test_what_is_measured_with_other_weights_is_not_compared(base_dir, seven_rows, tiny_folder):
    validation = {"file": str(seven_rows)}
    found = []
    for preferred in ("average", "last"):
        training = EMA | {"preferred_weights": preferred}
        settings = settings_with(tiny_folder, training=training, validation=validation)
        engine, _ = train(base_dir, settings, [(job_for(seven_rows), seven_rows)])
        found.append(engine.evaluator.measure(settings, global_step=6)[0])

    averaged, last = found
    assert averaged.losses != last.losses
    assert averaged.rows_id != last.rows_id


def test_an_average_begins_and_ends_with_the_settings_of_a_file(base_dir, tmp_path, tiny_folder):
    first, second = (write_jsonl(tmp_path / f"{name}.jsonl", rows(3)) for name in "ab")

    train(base_dir, settings_with(tiny_folder, training=EMA), [(job_for(first, id="a"), first)])
    assert averaged(base_dir).is_symlink()
    train(base_dir, settings_with(tiny_folder), [(job_for(second, id="b"), second)])

    assert state_of(base_dir) is None
    assert not averaged(base_dir).is_symlink()
