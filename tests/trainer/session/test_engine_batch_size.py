"""An engine that finds its batch_sizes by measuring keeps to it, and a crash at any time changes no bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import PowerCut
from tests.trainer.engine_rig import LEAVE, Commands, SmallMemory, Told, settings_with, weights_sha256
from trainer.protocol.files import read_json
from trainer.protocol.messages import Heartbeat, Notice, StartJob
from trainer.session import engine as engine_module
from trainer.session.batch_size_finder import BatchSizeChoice
from trainer.session.batch_size_store import FILE_NAME
from trainer.session.engine import TrainerEngine

AUTO = {"micro_batch_tokens": "auto", "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 0}
FOUND = 60  # of the tokens of a step's rows; two rows go together


@pytest.fixture
def train(noisy_folder: Path, job_file: Any, monkeypatch: Any) -> Callable[..., Told]:
    """Return a function that trains two files, perhaps up to a crash."""
    settings = settings_with(noisy_folder, training=AUTO)
    dumped = settings.model_dump(mode="json")
    jobs = [job_file("a", 14), job_file("b", 6)]  # of four rows a step: four steps and two

    def run(base: Path, *, finds: int, crash_at: int | None = None, limited_at: int | None = None) -> Told:
        told = Told()
        monkeypatch.setattr(
            engine_module, "measure_best_batch_size", lambda *_, **__: BatchSizeChoice(finds, "it is")
        )
        engine = TrainerEngine(settings, base_dir=base, on_event=told.append)
        engine.load()
        SmallMemory(
            engine.trainer, fits=FOUND // 2, is_short=lambda: engine.progress.global_step == limited_at
        )
        orders = [StartJob(job=job, path=str(path), settings=dumped) for job, path in jobs]
        engine.run(Commands(engine, [*orders, LEAVE], kill_at=crash_at))
        return told

    return run


@pytest.mark.parametrize("crash_at", [0, 1, 3, 4, 5])
def test_a_crash_does_not_change_what_was_found_before_it(tmp_path, train, crash_at):
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"

    train(whole, finds=FOUND)
    with pytest.raises(PowerCut):
        train(crashed, finds=FOUND, crash_at=crash_at)
    train(crashed, finds=8192)

    assert weights_sha256(crashed) == weights_sha256(whole)


@pytest.mark.parametrize("crash_at", [2, 3, 4, 5])
def test_a_crash_does_not_change_what_running_out_of_memory_has_taught(tmp_path, train, crash_at):
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"

    train(whole, finds=FOUND, limited_at=1)
    with pytest.raises(PowerCut):
        train(crashed, finds=FOUND, limited_at=1, crash_at=crash_at)
    train(crashed, finds=FOUND)  # there is memory enough by now

    [fit] = read_json(crashed / "models" / FILE_NAME)["fits"]
    assert (fit["tokens"], [lesson["step"] for lesson in fit["lessons"]]) == (FOUND, [1])
    assert weights_sha256(crashed) == weights_sha256(whole)


def test_another_budget_would_have_changed_the_result(tmp_path, train):
    train(tmp_path / "one", finds=FOUND)
    train(tmp_path / "other", finds=8192)

    assert weights_sha256(tmp_path / "one") != weights_sha256(tmp_path / "other")


def test_the_first_start_measures_and_says_so_and_the_second_remembers(base_dir, tiny_folder):
    settings = settings_with(tiny_folder, training=AUTO, data={"max_length": 64})
    told, told_again = Told(), Told()

    TrainerEngine(settings, base_dir=base_dir, on_event=told.append).load()
    TrainerEngine(settings, base_dir=base_dir, on_event=told_again.append).load()

    [notice] = told.of(Notice)
    assert (notice.key, "tokens were found to be best here" in notice.message) == ("fit", True)
    progress = [beat for beat in told.of(Heartbeat) if beat.detail and beat.detail.startswith("measuring")]
    assert {beat.section for beat in progress} == {"loading"}
    assert [beat.ticks for beat in progress] == sorted({beat.ticks for beat in progress})
    assert told_again.of(Notice) == []
