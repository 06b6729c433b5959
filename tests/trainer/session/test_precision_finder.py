"""A new model on a CPU computes in bf16 where that was measured faster, and keeps what was found for life."""

import json

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support import job_for, rows, write_jsonl
from tests.trainer.engine_rig import settings_with, train, weights_sha256
from trainer.session import engine as engine_module
from trainer.session import precision_finder
from trainer.session.precision_finder import bf16_is_faster, times_as_fast_in_bf16
from trainer.step import precision

OPEN = {"precision": "auto", "device": "cpu"}


@pytest.fixture(scope="module")
def small_model():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=99, **sizes))


@pytest.fixture
def with_instructions(monkeypatch):
    monkeypatch.setattr(precision_finder, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: True)


def finds(monkeypatch, ratio):
    """Have each measurement find this ratio; return what was measured."""
    measured = []
    monkeypatch.setattr(engine_module, "times_as_fast_in_bf16", lambda model: measured.append(model) or ratio)
    return measured


@pytest.mark.parametrize("ratio, is_faster", [(1.4, False), (1.5, True), (None, False)])
def test_what_is_measured_once_is_kept(tmp_path, small_model, ratio, is_faster):
    file = tmp_path / "precision.json"

    assert bf16_is_faster(small_model, file, measure=lambda model: ratio) is is_faster
    assert bf16_is_faster(small_model, file, measure=lambda model: pytest.fail("measured twice")) is is_faster
    assert bf16_is_faster(small_model, file, measure=None) is is_faster


def test_who_must_not_decide_takes_fp32_and_writes_nothing(tmp_path, small_model):
    assert not bf16_is_faster(small_model, tmp_path / "precision.json", measure=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spoil", [{"device": "another"}, {"model": "another"}, {"precision": "fp8"}])
def test_what_was_found_for_another_model_or_machine_is_measured_again(tmp_path, small_model, spoil):
    file = tmp_path / "precision.json"
    bf16_is_faster(small_model, file, measure=lambda model: 3.0)
    file.write_text(json.dumps(json.loads(file.read_text()) | spoil))

    assert not bf16_is_faster(small_model, file, measure=lambda model: 1.0)
    assert json.loads(file.read_text())["times_as_fast"] == 1.0


def test_small_models_and_old_processors_are_not_measured(small_model, monkeypatch, with_instructions):
    assert times_as_fast_in_bf16(small_model) is None
    monkeypatch.setattr(precision_finder, "FEWEST_WEIGHTS", 0)
    assert times_as_fast_in_bf16(small_model) > 0
    monkeypatch.setattr(precision_finder, "has_bf16_instructions", lambda: False)
    assert times_as_fast_in_bf16(small_model) is None


def test_the_fastest_of_each_counts_and_the_first_never(small_model, monkeypatch, with_instructions):
    monkeypatch.setattr(precision_finder, "FEWEST_WEIGHTS", 0)
    seconds = iter([0.0] + [0.0, 9.9] + [0.0, 0.4, 0.0, 0.1, 0.0] + [0.0, 0.3, 0.0, 0.2, 0.0] * 13)
    monkeypatch.setattr(precision_finder, "linear", lambda *pair: None)

    def clock():
        return next(seconds)

    assert times_as_fast_in_bf16(small_model, clock=clock) == pytest.approx(3.0)


def test_a_model_that_began_in_bf16_stays_in_it(
    tmp_path, tiny_folder, seven_rows, monkeypatch, with_instructions
):
    finds(monkeypatch, 3.0)
    jobs = [(job_for(seven_rows, id="1"), seven_rows)]
    explicit, whole, stopped = tmp_path / "explicit", tmp_path / "whole", tmp_path / "stopped"
    bf16 = settings_with(tiny_folder, training={"precision": "bf16", "device": "cpu"})
    settings = settings_with(tiny_folder, training=OPEN)

    train(explicit, bf16, jobs)
    train(whole, settings, jobs)
    train(stopped, settings, jobs, stop_at=1)
    (stopped / "models" / "precision.json").unlink()
    measured = finds(monkeypatch, 0.5)
    engine, _ = train(stopped, settings, jobs)

    assert engine.trainer.forward.strategy.rounds_weights
    assert weights_sha256(stopped) == weights_sha256(whole) == weights_sha256(explicit)
    assert not measured


def test_before_the_first_checkpoint_the_file_says_it(tmp_path, tiny_folder, monkeypatch, with_instructions):
    settings = settings_with(tiny_folder, training=OPEN)
    finds(monkeypatch, 3.0)
    train(tmp_path / "base", settings, [])
    finds(monkeypatch, 0.5)

    engine, _ = train(tmp_path / "base", settings, [])

    assert engine.trainer.precision == "bf16"


def test_a_model_that_began_in_fp32_stays_in_it(
    tmp_path, tiny_folder, seven_rows, monkeypatch, with_instructions
):
    settings = settings_with(tiny_folder, training=OPEN)
    next_file = write_jsonl(tmp_path / "b.jsonl", rows(4, start=7))
    finds(monkeypatch, None)
    train(tmp_path / "base", settings, [(job_for(seven_rows, id="1"), seven_rows)])
    (tmp_path / "base" / "models" / "precision.json").unlink()
    finds(monkeypatch, 3.0)

    engine, _ = train(tmp_path / "base", settings, [(job_for(next_file, id="2"), next_file)])

    assert engine.trainer.precision == "fp32"


def test_several_processes_begin_in_fp32(tmp_path, tiny_folder, monkeypatch, with_instructions):
    finds(monkeypatch, 3.0)

    settings = settings_with(tiny_folder, training=OPEN | {"processes": 2})
    engine = engine_module.TrainerEngine(settings, base_dir=tmp_path / "base", is_alone=True)
    engine.load()

    assert engine.trainer.precision == "fp32"


def test_a_model_that_cannot_round_begins_in_fp32_rather_than_with_autocast(
    tmp_path, tiny_folder, monkeypatch, with_instructions
):
    finds(monkeypatch, 3.0)
    monkeypatch.setattr(precision, "_try_rounding", lambda model, earlier: None)

    engine, _ = train(tmp_path / "base", settings_with(tiny_folder, training=OPEN), [])

    assert (engine.trainer.precision, engine.trainer.forward.strategy.precision) == ("fp32", "fp32")
