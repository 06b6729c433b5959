"""The engine with a real, tiny model: what it publishes is what it learned, and stopping changes nothing."""

import json
import resource
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import job_for, row, rows, write_jsonl
from tests.trainer.engine_rig import Told, current, settings_with, train
from trainer.config.loader import BadConfig
from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.formats import read_conversation
from trainer.data.plan import Plan
from trainer.data.rendering.render import ExampleRenderer, learnable, render_examples
from trainer.protocol.job import Outcome
from trainer.protocol.messages import (
    JobEnded,
    Validated,
)
from trainer.session.engine import TrainerEngine
from trainer.step.feeding_trainer import FeedingTrainer

# ---- the library


def test_the_library_trains_a_file_in_ten_lines(tmp_path, seven_rows):
    settings = Settings.model_validate({"training": {"batch_size": 2, "warmup_steps": 0}})

    engine = TrainerEngine(settings, base_dir=tmp_path / "work")
    engine.load()
    result = engine.run_job(seven_rows)

    assert result.record.outcome is Outcome.COMPLETED
    assert result.record.rows_trained == 7
    assert result.checkpoint.is_dir()
    assert (tmp_path / "work" / "models" / "tiny").is_dir()  # built from nothing


def test_the_checkpoint_of_a_file_predicts_what_the_live_model_predicts(base_dir, seven_rows, tiny_folder):
    engine = TrainerEngine(settings_with(tiny_folder), base_dir=base_dir)
    engine.load()

    checkpoint = engine.run_job(seven_rows).checkpoint

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Say 3."}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    live = engine.trainer.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(prompt).logits, live(prompt).logits)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert not torch.equal(base.lm_head.weight, model.lm_head.weight)
    assert current(base_dir).resolve() == checkpoint


def test_a_model_learns_what_it_is_shown(base_dir, tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [row("Say yes.", "yes it is.")] * 6)
    settings = settings_with(tiny_folder, training={"epochs": 10, "warmup_steps": 0, "learning_rate": 3e-3})
    engine = TrainerEngine(settings, base_dir=base_dir)
    engine.load()

    result = engine.run_job(file)

    assert result.last_loss < result.first_loss / 4


def test_nothing_can_be_trained_before_a_model_is_loaded(base_dir, seven_rows, tiny_folder):
    engine = TrainerEngine(settings_with(tiny_folder), base_dir=base_dir)

    with pytest.raises(RuntimeError, match=r"no model is loaded yet; call load\(\) first"):
        engine.run_job(seven_rows)


def test_the_library_refuses_a_replay_that_it_knows_no_files_for(base_dir, seven_rows, tiny_folder):
    engine = TrainerEngine(settings_with(tiny_folder, training={"replay_fraction": 0.25}), base_dir=base_dir)
    engine.load()

    with pytest.raises(BadConfig, match=r"training\.replay_fraction is 0\.25; expected 0 with run_job"):
        engine.run_job(seven_rows)

    assert engine.progress.global_step == 0


@pytest.mark.parametrize(
    "content, error, message",
    [
        (None, FileNotFoundError, r"b\.jsonl is not there; expected a JSONL file; give its path"),
        ([], ValueError, "it is empty"),
        ([{"chosen": "no messages"}], ValueError, "the only row is malformed: line 1: found"),
    ],
)
def test_a_file_that_cannot_be_trained_does_no_harm(base_dir, tmp_path, tiny_folder, content, error, message):
    path = tmp_path / "b.jsonl"
    if content is not None:
        write_jsonl(path, content)
    engine = TrainerEngine(settings_with(tiny_folder), base_dir=base_dir)
    engine.load()
    before = engine.run_job(write_jsonl(tmp_path / "good.jsonl", rows(3))).checkpoint

    with pytest.raises(error, match=message):
        engine.run_job(path)

    assert engine.progress.global_step == 1
    assert current(base_dir).resolve() == before
    assert engine.run_job(write_jsonl(tmp_path / "next.jsonl", rows(3))).record.steps == 1


# ---- what is counted


def test_counts_go_on_over_files_and_over_engines(base_dir, tmp_path, tiny_folder):
    settings = settings_with(tiny_folder)
    first = write_jsonl(tmp_path / "first.jsonl", rows(7))
    second = write_jsonl(tmp_path / "second.jsonl", rows(4, start=7))
    third = write_jsonl(tmp_path / "third.jsonl", rows(3, start=11))

    _, told = train(base_dir, settings, [(job_for(first, id="1"), first), (job_for(second, id="2"), second)])
    engine = TrainerEngine(settings, base_dir=base_dir, on_event=told.append)
    ready = engine.load()
    engine.run_job(third)

    assert ready.global_step == 3 + 2
    assert ready.samples_seen == 7 + 4
    assert ready.tokens_seen == sum(step.tokens for step in told.steps[:5]) > 0
    assert [record.job_id for record in ready.finished] == ["1", "2"]
    assert ready.checkpoint.path == "checkpoints/step-000000005"
    assert [step.global_step for step in told.steps] == [1, 2, 3, 4, 5, 6]
    assert [step.file_step for step in told.steps] == [1, 2, 3, 1, 2, 1]
    assert engine.progress.samples_seen == 14
    rates = [step.learning_rate for step in told.steps]
    assert rates == pytest.approx([1e-3 * share for share in (0.2, 0.4, 0.6, 0.8, 1.0, 1.0)])


def test_rows_are_trained_in_the_order_of_the_plan_and_each_once_an_epoch(
    base_dir, seven_rows, tiny_folder, monkeypatch
):
    settings = settings_with(tiny_folder, training={"epochs": 2})
    job = job_for(seven_rows)
    trained: list[list[list[int]]] = []
    stock = FeedingTrainer.training_step

    def spy(self: FeedingTrainer, model: Any, inputs: Any, *rest: Any) -> Any:
        trained.append([example.token_ids for example in inputs.examples])
        return stock(self, model, inputs, *rest)

    monkeypatch.setattr(FeedingTrainer, "training_step", spy)
    engine, _ = train(base_dir, settings, [(job, seven_rows)])

    conversations = [read_conversation(content) for content in rows(7)]
    examples = learnable(render_examples(conversations, engine.tokenizer, max_length=2048))
    row_of = {tuple(example.token_ids): i for i, example in enumerate(examples)}
    found = [[row_of[tuple(ids)] for ids in step] for step in trained]
    plan = Plan(sha256=job.sha256, num_rows=7, rows_per_step=3, epochs=2, seed=settings.training.seed)
    assert found == [plan.positions(step) for step in range(6)]
    epochs = [sorted(i for step in steps for i in step) for steps in (found[:3], found[3:])]
    assert epochs == [list(range(7))] * 2


# ---- validation


def test_validation_loss_is_the_mean_over_all_supervised_tokens(base_dir, tmp_path, seven_rows, noisy_folder):
    content = [*rows(4, start=50), row("Say much.", "so much " * 20)]
    write_jsonl(base_dir / "validation.jsonl", content)
    settings = settings_with(
        noisy_folder,
        training={"micro_batch_tokens": 64},
        validation={"file": "validation.jsonl", "interval_steps": 2},
    )

    engine, told = train(base_dir, settings, [(job_for(seven_rows), seven_rows)])

    assert [(event.global_step, event.rows) for event in told.of(Validated)] == [(0, 5), (2, 5), (3, 5)]
    model = AutoModelForCausalLM.from_pretrained(current(base_dir)).eval()
    conversations = [read_conversation(one) for one in content]
    examples = learnable(render_examples(conversations, engine.tokenizer, max_length=2048))
    total, tokens = 0.0, 0
    for example in examples:
        with torch.no_grad():
            loss = model(torch.tensor([example.token_ids]), labels=torch.tensor([example.labels])).loss
        total += float(loss) * example.supervised_tokens
        tokens += example.supervised_tokens
    assert told.of(Validated)[-1].loss == pytest.approx(total / tokens, rel=1e-5)
    assert engine.trainer.model.training


def test_the_folder_of_an_engine_can_be_given_as_text(base_dir, tiny_folder):
    write_jsonl(base_dir / "chat.jsonl", rows(3))
    engine = TrainerEngine(settings_with(tiny_folder), base_dir=str(base_dir))
    engine.load()

    result = engine.run_job(str(base_dir / "chat.jsonl"))

    assert result.checkpoint == current(base_dir).resolve()


def test_the_untrained_model_is_validated_again_only_if_nothing_was_saved_since(
    base_dir, seven_rows, tiny_folder
):
    write_jsonl(base_dir / "validation.jsonl", rows(4, start=50))
    settings = settings_with(tiny_folder, validation={"file": "validation.jsonl", "interval_steps": 500})
    jobs = [(job_for(seven_rows), seven_rows)]

    lost = train(base_dir, settings, jobs, stop_at=1)[1]
    shutil.rmtree(base_dir / "models")  # as if it had been killed before that step was saved
    anew = train(base_dir, settings, jobs, stop_at=1)[1]
    continued = train(base_dir, settings, jobs)[1]

    assert lost.of(Validated) == anew.of(Validated)
    assert [event.global_step for event in anew.of(Validated)] == [0]
    assert [event.global_step for event in continued.of(Validated)] == [3]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "No such file"),
        ([], "it has no rows"),
        ([row(), {"messages": 3}], r"line 2: messages is 3; expected a list"),
    ],
)
def test_a_validation_file_that_cannot_be_used_is_the_settings_fault(
    base_dir, seven_rows, tiny_folder, content, message
):
    if content is not None:
        write_jsonl(base_dir / "validation.jsonl", content)
    settings = settings_with(tiny_folder, validation={"file": "validation.jsonl"})

    with pytest.raises(BadConfig, match=rf"validation\.file is .*validation\.jsonl: {message}"):
        train(base_dir, settings, [(job_for(seven_rows), seven_rows)])


def test_a_validation_row_the_template_refuses_is_the_settings_fault(
    base_dir, seven_rows, tiny_folder, monkeypatch
):
    write_jsonl(base_dir / "validation.jsonl", [row("Refuse me.", "no")])
    settings = settings_with(tiny_folder, validation={"file": "validation.jsonl"})
    told = Told()
    engine = TrainerEngine(settings, base_dir=base_dir, on_event=told.append)
    engine.load()
    template = engine.trainer.processing_class.chat_template
    engine.trainer.processing_class.chat_template = (
        "{%- if 'Refuse' in messages[0]['content'] -%}{{ raise_exception('refused') }}{%- endif -%}"
        + template
    )

    with pytest.raises(BadConfig, match=r"validation\.file is .*line.* 1: the chat template refuses"):
        engine.run_job(seven_rows)

    assert told.of(JobEnded) == []


def test_what_learns_while_it_renders_is_used_by_one_thread(base_dir, seven_rows, tiny_folder, monkeypatch):
    write_jsonl(base_dir / "validation.jsonl", [row("Seen?", "no")])
    settings = settings_with(tiny_folder, validation={"file": "validation.jsonl"})
    threads = defaultdict(set)
    render = ExampleRenderer.render

    def note_thread(renderer, conversations, **ways):
        threads[renderer].add(current_thread())
        return render(renderer, conversations, **ways)

    monkeypatch.setattr(ExampleRenderer, "render", note_thread)

    train(base_dir, settings, [(job_for(seven_rows), seven_rows)])

    assert [len(used_by) for used_by in threads.values()] == [1, 1]


# ---- a full disk


@contextmanager
def disk_of(num_bytes: int) -> Iterator[None]:
    """Have every file fail that grows beyond `num_bytes`, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_bytes", [1_000_000, 4_000_000])  # the weights, the optimizer
def test_a_full_disk_is_no_crash_and_leaves_the_checkpoint_before(
    base_dir, seven_rows, tiny_folder, num_bytes
):
    engine, _ = train(base_dir, settings_with(tiny_folder), [(job_for(seven_rows), seven_rows)])
    before = current(base_dir).resolve()

    with disk_of(num_bytes), pytest.raises(OSError, match=r"File too large|is the disk full"):
        engine.save(CheckpointSettings())

    assert current(base_dir).resolve() == before
    assert json.loads((before / "MANIFEST.json").read_text())["progress"]["global_step"] == 3
    assert not (base_dir / "models" / ".staging").exists()
    assert engine.save(CheckpointSettings()).result().path == "checkpoints/step-000000003-2"


def test_a_file_that_is_not_there_is_said_to_be_missing(base_dir, tmp_path, tiny_folder):
    engine = TrainerEngine(settings_with(tiny_folder), base_dir=base_dir)

    with pytest.raises(FileNotFoundError, match=r"gone.jsonl is not there; expected a JSONL file"):
        engine.run_job(tmp_path / "gone.jsonl")
