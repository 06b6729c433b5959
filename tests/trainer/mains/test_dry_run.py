"""A dry run says what training would be like, by the worker's own code, and leaves everything as it is."""

import gzip
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from tests.support import FakeClock, job_for, row, rows, write_jsonl
from tests.trainer.engine_rig import settings_with, train
from tests.trainer.step_rig import bundle, example
from trainer.config.schema import Settings
from trainer.evaluation.validation import load_validation_examples
from trainer.mains import dry_run
from trainer.protocol.dry_run import DryRunOrder, Planned
from trainer.protocol.job import EarlierFile, FaultKind
from trainer.protocol.one_shot import OrderRefused, Refused
from trainer.session import engine as engine_module
from trainer.session.batch_size_finder import BatchSizeChoice
from trainer.session.engine import TrainerEngine
from trainer.session.trial_steps import TIME_LIMIT_S, StepStatistics, collect_statistics, take_trial_steps
from trainer.step.forward import Forward, ForwardStrategy

NO_MODEL: Any = SimpleNamespace(
    config=SimpleNamespace(_attn_implementation="sdpa"),
    set_attn_implementation=lambda name: None,
    modules=list,
)
PADDING = Forward(NO_MODEL, ForwardStrategy())

RATES = {"warmup_steps": 4, "learning_rate": 1e-3}


def order(base_dir: Path, file: Path, settings: Settings, *, daemon_runs: bool = False) -> DryRunOrder:
    return DryRunOrder(
        base_dir=str(base_dir),
        file=str(file),
        settings=settings.model_dump(mode="json"),
        daemon_runs=daemon_runs,
    )


def refusal(base_dir: Path, file: Path, settings: Settings) -> Refused:
    with pytest.raises(OrderRefused) as refused:
        dry_run.dry_run(order(base_dir, file, settings))
    return refused.value.as_message


def plan(base_dir: Path, file: Path, settings: Settings) -> Planned:
    return dry_run.dry_run(order(base_dir, file, settings))


def everything_in(folder: Path) -> dict[str, tuple[int, str]]:
    """Return when each thing below a folder was changed, and what it holds."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
    }


def test_the_numbers_are_those_of_the_file(tmp_path, base_dir, tiny_folder):
    content = [*rows(7), '{"messages": []}']
    file = write_jsonl(tmp_path / "chat.jsonl", content)
    data = {"max_length": 20, "max_bad_row_fraction": 0.5, "max_truncated_fraction": 1}
    settings = settings_with(tiny_folder, data=data, training=RATES | {"epochs": 2})
    write_jsonl(base_dir / "good.jsonl", content[:-1])
    as_validation = settings.model_copy(
        update={"validation": settings.validation.model_copy(update={"file": "good.jsonl"})}
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_folder)
    expected = load_validation_examples(as_validation, base_dir, tokenizer)

    planned = plan(base_dir, file, settings)

    assert (planned.rows, planned.rejected_rows, planned.steps, planned.rows_per_step) == (7, 1, 6, 3)
    assert planned.first_rejections[0].startswith("line 8: messages is an empty list")
    assert planned.tokens == sum(len(one.token_ids) for one in expected)
    assert planned.supervised_tokens == sum(one.supervised_tokens for one in expected)
    assert planned.truncated_rows == sum(one.is_truncated for one in expected) > 0
    assert planned.micro_batches_per_step == 1
    assert (planned.first_learning_rate, planned.last_learning_rate) == (2e-4, 1e-3)
    assert planned.checkpoint is None
    assert planned.trial_steps is not None
    assert (
        planned.trial_steps.peak_bytes > 3 * 4 * 1_100_000
    )  # weights, gradients and the optimizer's averages


def test_a_file_that_the_check_of_its_rows_blocks_is_refused_unless_it_is_admitted(
    tmp_path, base_dir, tiny_folder
):
    settings = settings_with(tiny_folder, training=RATES, data={"max_length": 20})
    file = write_jsonl(tmp_path / "chat.jsonl", rows(7))

    message = refusal(base_dir, file, settings).message
    admitted = order(base_dir, file, settings).model_copy(update={"is_admitted": True})

    assert message.startswith(
        "chat.jsonl would fail when its turn comes: 7 of 7 rows (100 %, limit 5 %) do not"
    )
    assert message.endswith("training_queue retry chat.jsonl --admit")
    assert dry_run.dry_run(admitted).truncated_rows == 7


def test_what_the_check_of_its_rows_warns_of_is_told(tmp_path, base_dir, tiny_folder):
    file = write_jsonl(tmp_path / "chat.jsonl", [*rows(5), *rows(5)])

    planned = plan(base_dir, file, settings_with(tiny_folder, training=RATES))

    assert planned.notices[0].startswith(
        "5 of 10 rows (50 %, a warning above 1 %) are exact copies of earlier ones"
    )


def test_an_admitted_file_with_nothing_to_train_has_no_plan(tmp_path, base_dir, tiny_folder):
    settings = settings_with(tiny_folder, training=RATES, data={"max_length": 64})
    file = write_jsonl(tmp_path / "chat.jsonl", [row("word " * 200, "yes") for _ in range(7)])

    assert "have nothing to train" in refusal(base_dir, file, settings).message
    admitted = order(base_dir, file, settings).model_copy(update={"is_admitted": True})
    with pytest.raises(OrderRefused, match="7 untrainable rows without a supervised token"):
        dry_run.dry_run(admitted)


def test_nothing_in_the_working_directory_is_touched(tmp_path, base_dir, tiny_folder):
    settings = settings_with(
        tiny_folder, training=RATES | {"micro_batch_tokens": "auto"}, data={"max_length": 64}
    )
    file = write_jsonl(tmp_path / "chat.jsonl", rows(7))
    train(base_dir, settings, [(job_for(file), file)], stop_at=2)
    (base_dir / "models" / "fit.json").write_text("damaged")
    before = everything_in(base_dir)

    planned = plan(base_dir, file, settings)

    assert everything_in(base_dir) == before
    assert planned.checkpoint is not None
    assert (planned.checkpoint.path, planned.checkpoint.step) == ("checkpoints/step-000000002", 2)
    assert planned.first_learning_rate == pytest.approx(6e-4)
    assert planned.notices[0].startswith(f"{base_dir / 'models' / 'fit.json'} was damaged")
    assert "tokens were found to be best here" in planned.notices[1]


def test_a_damaged_checkpoint_is_told_and_stays_where_it_is(tmp_path, base_dir, tiny_folder):
    settings = settings_with(tiny_folder, training=RATES)
    file = write_jsonl(tmp_path / "chat.jsonl", rows(7))
    for stop_at in (1, 2):
        train(base_dir, settings, [(job_for(file), file)], stop_at=stop_at)
    weights = base_dir / "models" / "checkpoints" / "step-000000002" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    planned = plan(base_dir, file, settings)

    assert planned.checkpoint is not None
    assert planned.checkpoint.step == 1
    assert planned.notices[0].startswith("checkpoint step-000000002 is damaged")
    assert weights.exists()


def test_settings_are_refused_as_by_a_worker(tmp_path, base_dir, tiny_folder):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))
    train(base_dir, settings_with(tiny_folder), [(job_for(file), file)])

    locked = refusal(base_dir, file, settings_with(tiny_folder, data={"max_length": 64}))
    missing = refusal(base_dir, file, settings_with(tiny_folder, validation={"file": "gone.jsonl"}))

    assert locked.fault is missing.fault is FaultKind.BAD_CONFIG
    assert locked.message.startswith("data.max_length is 64, but the checkpoints in models/")
    assert missing.message.startswith(f"validation.file is {base_dir / 'gone.jsonl'}: No such file")


def test_what_cannot_be_loaded_is_nobodys_setting_and_named_by_its_place(tmp_path, base_dir, tiny_folder):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))
    (base_dir / "models" / "checkpoints" / "step-000000001").mkdir(parents=True)

    refused = refusal(base_dir, file, settings_with(tiny_folder))

    assert refused.fault is FaultKind.ENVIRONMENT
    assert (
        f"none of the checkpoints in {base_dir / 'models' / 'checkpoints'} can be trusted" in refused.message
    )


@pytest.mark.parametrize(
    "content, told",
    [
        (["no row"] * 3, "3 of 3 rows are malformed"),
        ([], "it is empty"),
    ],
)
def test_a_file_that_would_fail_is_refused_before_a_model_is_loaded(tmp_path, base_dir, content, told):
    file = write_jsonl(tmp_path / "chat.jsonl", content)

    refused = refusal(base_dir, file, settings_with("./gone"))

    assert refused == Refused(message=refused.message, fault=FaultKind.BAD_DATA)
    assert refused.message.startswith(f"{file}: {told}")


@pytest.mark.parametrize("template, fault", [("no b", FaultKind.BAD_DATA), ("mask", FaultKind.BAD_CONFIG)])
def test_the_first_failing_row_is_that_of_the_file_and_not_of_the_order_of_training(
    tmp_path, base_dir, tiny_folder, template, fault
):
    refuse = "{{ raise_exception('no b') }}" if template == "no b" else "Answer: "
    (base_dir / "own.jinja").write_text(
        "{% for m in messages %}{% if m.content == 'b' %}" + refuse + "{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    content = [row(answer="b" if number > 1 else "a") for number in range(40)]
    file = write_jsonl(tmp_path / "chat.jsonl", content)
    settings = settings_with(
        tiny_folder, model={"base_model": str(tiny_folder), "chat_template": "own.jinja"}
    )

    refused = refusal(base_dir, file, settings)

    assert refused.fault is fault
    assert "line 3: " in refused.message


def test_a_template_that_does_not_fit_the_model_is_told_with_the_name_of_the_settings(tmp_path, base_dir):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))
    settings = settings_with("", model={"base_model": "tiny", "chat_template": "llama-3"})

    told = refusal(base_dir, file, settings).message

    assert 'but the vocabulary of "tiny" has no <|start_header_id|>' in told


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_may_never_end_is_refused_at_once(tmp_path, base_dir, kind):
    pipe = tmp_path / "chat.jsonl"
    os.mkfifo(pipe)

    refused = refusal(base_dir, pipe if kind == "pipe" else Path("/dev/zero"), settings_with("./gone"))

    assert "it is a pipe or a device; expected a regular file" in refused.message


def test_a_packed_file_is_planned_like_its_text(tmp_path, base_dir, tiny_folder):
    plain = write_jsonl(tmp_path / "chat.jsonl", rows(7))
    packed = tmp_path / "chat.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    settings = settings_with(tiny_folder, training=RATES)

    found = [plan(base_dir, file, settings) for file in (plain, packed)]

    assert len({(planned.rows, planned.tokens, planned.steps) for planned in found}) == 1
    assert found[1].rows == 7


def test_a_file_that_is_not_there_is_refused(tmp_path, base_dir):
    refused = refusal(base_dir, tmp_path / "gone.jsonl", settings_with("./gone"))

    assert refused.message.endswith("gone.jsonl: No such file or directory; expected a readable JSONL file")


def refuse(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("this is not for a dry run")


def test_several_processes_are_tried_as_one_and_no_other_is_started(
    tmp_path, base_dir, tiny_folder, monkeypatch
):
    monkeypatch.setattr(engine_module, "Ranks", refuse)
    file = write_jsonl(tmp_path / "chat.jsonl", rows(7))
    before = everything_in(base_dir)

    planned = plan(base_dir, file, settings_with(tiny_folder, training=RATES | {"processes": 2}))

    assert planned.trial_steps is not None
    assert planned.notices == (
        "training.processes is 2, but one was tried here: expect up to 2 times its speed; each needs as much "
        "memory",
    )
    assert everything_in(base_dir) == before


def test_more_processes_than_gpus_are_refused_as_by_a_worker(tmp_path, base_dir, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))

    refused = refusal(base_dir, file, settings_with(tiny_folder, training={"processes": 2}))

    assert refused.fault is FaultKind.BAD_CONFIG
    assert refused.message.startswith("training.processes is 2, but GPUs that can be used: 1; expected")


def test_nothing_is_measured_beside_a_daemon(tmp_path, base_dir, tiny_folder, monkeypatch):
    monkeypatch.setattr(engine_module, "measure_best_batch_size", refuse)
    settings = settings_with(tiny_folder, training=RATES | {"micro_batch_tokens": "auto"})
    file = write_jsonl(tmp_path / "chat.jsonl", rows(7))

    planned = dry_run.dry_run(order(base_dir, file, settings, daemon_runs=True))

    assert (planned.micro_batch_tokens, planned.micro_batches_per_step, planned.padding_fraction) == (
        None,
    ) * 3
    assert planned.trial_steps is not None
    [notice] = planned.notices
    assert "the best number is measured when training starts" in notice


def test_what_a_worker_has_found_is_used_beside_it(tmp_path, base_dir, tiny_folder, monkeypatch):
    monkeypatch.setattr(
        engine_module, "measure_best_batch_size", lambda *_, **__: BatchSizeChoice(40, "it is")
    )
    settings = settings_with(tiny_folder, training=RATES | {"micro_batch_tokens": "auto"})
    TrainerEngine(settings, base_dir=base_dir).load()
    file = write_jsonl(tmp_path / "chat.jsonl", rows(7))

    planned = dry_run.dry_run(order(base_dir, file, settings, daemon_runs=True))

    assert (planned.micro_batch_tokens, planned.notices) == (40, ())


def test_replayed_rows_are_counted(tmp_path, base_dir, tiny_folder):
    earlier = write_jsonl(tmp_path / "earlier.jsonl", rows(9, start=100))
    file = write_jsonl(tmp_path / "chat.jsonl", rows(6))
    without = settings_with(tiny_folder, training=RATES)
    replaying = settings_with(tiny_folder, training=RATES | {"replay_fraction": 0.34})
    known = job_for(earlier)
    replayed = EarlierFile(job_id=earlier.name, name=earlier.name, sha256=known.sha256, rows=known.rows)
    asked = order(base_dir, file, replaying).model_copy(
        update={"replayed": (replayed,), "replay_folder": str(tmp_path)}
    )

    alone, mixed = plan(base_dir, file, without), dry_run.dry_run(asked)

    assert (alone.steps, mixed.steps) == (2, 3)  # of three rows each, of which one is replayed
    assert mixed.tokens > alone.tokens


def test_a_worker_is_not_robbed_of_its_gpu(base_dir):
    trainer: Any = SimpleNamespace(args=SimpleNamespace(device=torch.device("cuda")))
    engine: Any = SimpleNamespace(trainer=trainer)
    asked = order(base_dir, base_dir, Settings(), daemon_runs=True)

    assert dry_run._take_trial_steps(asked, engine, StepStatistics(PADDING)) is None


# ---- parts


def test_rows_end_to_end_have_no_padding():
    rows = bundle(example(4), example(5), micro_batch_tokens=10)

    found = collect_statistics([rows], Forward(NO_MODEL, ForwardStrategy(lays_end_to_end=True)))

    assert (found.padding_fraction, found.largest_tokens) == (0.0, 9)


def test_padding_micro_batches_and_the_largest_step_are_counted():
    small = bundle(example(4), example(5), micro_batch_tokens=10)  # 2 x 5, of which 9 are no padding
    large = bundle(example(6), example(7), micro_batch_tokens=10)  # 6 and 7

    found = collect_statistics([small, large], PADDING)

    assert (found.micro_batches_per_step, found.padding_fraction) == (1.5, pytest.approx(1 / 23))
    assert found.largest == [small]
    assert found.tokens == 22


class FakeTrainer:
    """Takes so long for each step."""

    def __init__(self, clock: FakeClock, step_s: float) -> None:
        self._clock, self._step_s = clock, step_s
        self.taken: list[Any] = []

    def feed(self, bundles: Any) -> None:
        for one in bundles:
            self.taken.append(one)
            self._clock.now += self._step_s


@pytest.mark.parametrize("step_s, steps, tokens_per_s", [(1.0, 2, 5.0), (TIME_LIMIT_S, 1, 8 / TIME_LIMIT_S)])
def test_the_largest_step_is_taken_twice_and_others_as_long_as_there_is_time(step_s, steps, tokens_per_s):
    clock = FakeClock()
    trainer: Any = FakeTrainer(clock, step_s)
    meter: Any = SimpleNamespace(reset=lambda: None, peak_bytes=lambda: 7)
    large, small = bundle(example(8)), bundle(example(5))
    found = StepStatistics(PADDING, largest=[large], ordinary=[small, small])

    trial = take_trial_steps(trainer, found, meter=meter, clock=clock)

    assert trainer.taken[:2] == [large, large]
    assert (trial.steps, trial.tokens_per_s, trial.peak_bytes) == (steps, tokens_per_s, 7)
