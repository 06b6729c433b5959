"""An engine that goes on does exactly what one would have done that never stopped."""

from dataclasses import replace

import pytest

from tests.support import job_for, rows, write_jsonl
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    Told,
    assert_same_state,
    loaded,
    optimizer_state,
    settings_with,
    train,
    weights_sha256,
)
from trainer.config.lock import LockedSetting
from trainer.protocol.messages import Notice
from trainer.session.engine import TrainerEngine
from trainer.step import precision
from trainer.step.forward import ForwardStrategy

# ---- stop and go on


pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

LORA = {"method": "lora", "lora_rank": 4, "lora_dropout": 0.2, "learning_rate": 1e-2}
BF16 = {"precision": "bf16", "device": "cpu"}
ACCUMULATED = {"batch_size": 1, "gradient_accumulation": 3, "micro_batch_tokens": 60}


@pytest.mark.parametrize(
    "stop_at, training",
    [(1, {}), (3, ACCUMULATED), (5, {}), (1, LORA), (4, LORA | ACCUMULATED), (3, BF16), (4, BF16 | LORA)],
    ids=["1", "3 accumulated", "5", "1 lora", "4 lora accumulated", "3 bf16", "4 lora bf16"],
)  # of 6 steps: 3, 3 and 1 rows, twice
def test_a_stop_in_the_middle_of_a_file_changes_no_bit_of_the_result(
    tmp_path, seven_rows, noisy_folder, stop_at, training
):
    settings = settings_with(noisy_folder, training={"epochs": 2} | training)
    next_file = write_jsonl(tmp_path / "b.jsonl", rows(4, start=7))
    jobs = [(job_for(seven_rows, id="1"), seven_rows), (job_for(next_file, id="2"), next_file)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    _, told_whole = train(whole, settings, jobs)
    _, told_before = train(stopped, settings, jobs, stop_at=stop_at)
    weights_at_stop = weights_sha256(stopped)
    engine, told_after = train(stopped, settings, jobs)

    assert len(told_before.steps) == stop_at
    assert weights_at_stop != weights_sha256(whole)
    assert weights_sha256(stopped) == weights_sha256(whole)
    assert_same_state(optimizer_state(stopped), optimizer_state(whole))
    timeless = [
        [step.model_copy(update={"seconds": 0.0, "waited_s": 0.0}) for step in told.steps]
        for told in (told_whole, Told([*told_before, *told_after]))
    ]
    assert timeless[0] == timeless[1]
    assert engine.progress.cursors == {}


def test_a_begun_job_keeps_its_settings_when_the_engine_has_others(base_dir, seven_rows, tiny_folder):
    began_with = settings_with(tiny_folder, training={"learning_rate": 1e-3, "warmup_steps": 0})
    by_now = settings_with(tiny_folder, training={"learning_rate": 1e-5, "warmup_steps": 0, "batch_size": 7})
    job = job_for(seven_rows)

    train(base_dir, began_with, [(job, seven_rows)], stop_at=1)
    _, told = train(
        base_dir, by_now, [(job, seven_rows), (job.model_copy(update={"id": "later"}), seven_rows)]
    )

    assert [(step.rows, step.learning_rate) for step in told.steps] == [(3, 1e-3), (1, 1e-3), (7, 1e-5)]


def test_a_damaged_checkpoint_is_told_and_training_goes_on_from_the_one_before(
    base_dir, tmp_path, tiny_folder
):
    settings = settings_with(tiny_folder)
    engine = TrainerEngine(settings, base_dir=base_dir)
    engine.load()
    for name in ("a", "b"):
        last = engine.run_job(write_jsonl(tmp_path / f"{name}.jsonl", rows(3))).checkpoint
    weights = last / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    ready = TrainerEngine(settings, base_dir=base_dir).load()

    assert ready.global_step == 1
    assert [notice.split(":")[0] for notice in ready.notices] == [
        "checkpoint step-000000002 is damaged and was renamed corrupt-step-000000002"
    ]


def test_another_base_model_is_refused_while_checkpoints_continue_the_first(
    base_dir, seven_rows, tiny_folder, noisy_folder
):
    train(base_dir, settings_with(tiny_folder), [(job_for(seven_rows), seven_rows)])
    before = weights_sha256(base_dir)

    with pytest.raises(LockedSetting) as refused:
        TrainerEngine(settings_with(noisy_folder), base_dir=base_dir).load()

    assert f'model.base_model is "{noisy_folder}"' in str(refused.value)
    assert f'were trained with "{tiny_folder}"' in str(refused.value)
    assert weights_sha256(base_dir) == before


def test_rows_go_on_through_the_model_in_the_way_they_began(monkeypatch, base_dir, seven_rows, tiny_folder):
    strategy = ForwardStrategy(lays_end_to_end=False, calls_head_apart=True)
    monkeypatch.setattr(precision, "choose_forward_strategy", lambda model: strategy)
    settings = settings_with(tiny_folder)
    train(base_dir, settings, [(job_for(seven_rows), seven_rows)])
    monkeypatch.setattr(
        precision, "choose_forward_strategy", lambda model: ForwardStrategy(lays_end_to_end=True)
    )

    engine = loaded(base_dir, settings)

    assert engine.trainer.forward.strategy == replace(strategy, precision="fp32")


def test_another_precision_is_said_to_change_the_result(base_dir, seven_rows, tiny_folder):
    train(base_dir, settings_with(tiny_folder), [(job_for(seven_rows), seven_rows)], stop_at=1)

    _, told = train(base_dir, settings_with(tiny_folder, training=BF16), [(job_for(seven_rows), seven_rows)])

    [notice] = [notice for notice in told.of(Notice) if notice.key == "precision"]
    assert notice.message.startswith(
        "this model was trained in fp32 so far, and is trained in bf16 from here"
    )
    assert 'set training.precision to "fp32"' in notice.message
