"""Several processes share each step, and train what one process would have trained."""

import math
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.crash.lab import Nursery
from tests.crash.nursery import Forked, forked_popen
from tests.crash.replay import digest
from tests.support import PowerCut, job_for, row, rows, write_jsonl
from tests.trainer.engine_rig import (
    LEAVE,
    ROWS_PER_STEP,
    Commands,
    SmallMemory,
    Told,
    manifest_of,
    optimizer_state,
    settings_with,
    weights_sha256,
)
from trainer.config.loader import BadConfig
from trainer.config.schema import Settings, TrainingSettings
from trainer.distributed.followers import FollowerLauncher, StartedFollower
from trainer.distributed.ranks import visible_gpus
from trainer.protocol.child_process import own_environment
from trainer.protocol.handshake import SECRET_VARIABLE
from trainer.protocol.messages import PreviewMade, StartJob, StepReport, SuiteScored
from trainer.protocol.tcp import Listener
from trainer.session.engine import TrainerEngine

FOLLOWER_STARTS_S = 240.0  # it imports torch before it connects, on a machine that may be busy
FITS = 100  # tokens at once: every row of six ragged ones alone, but not half of them together
STEPS, HALF_LIFE = 6, 2  # in which either average has left its first steps behind
Prepare = Callable[[TrainerEngine], Any]


def ragged(number: int) -> list[dict[str, Any]]:
    """Return rows of very different lengths."""
    return [row("Say " + "word " * (7 * i % 23), f"{i} it is. " * (1 + i % 9)) for i in range(number)]


def steps_of(
    base: Path,
    settings: Settings,
    *files: tuple[str, Sequence[Any], dict[str, Any]],
    stop_at: int | None = None,
    kill_at: int | None = None,
    prepare: Prepare = lambda engine: None,
    told: Told | None = None,
    followers: FollowerLauncher | None = None,
) -> list[StepReport]:
    """Train files, each with its changes of the training settings; return the steps taken."""
    told = Told() if told is None else told
    engine = TrainerEngine(settings, base_dir=base, on_event=told.append, followers=followers)
    engine.load()
    try:
        prepare(engine)
        orders = [_order(base, settings, *file) for file in files]
        engine.run(Commands(engine, [*orders, LEAVE], stop_at, kill_at=kill_at))
    finally:
        engine.close()
    return told.steps


def _order(base: Path, settings: Settings, name: str, content: Sequence[Any], changes: Any) -> StartJob:
    path = write_jsonl(base / f"{name}.jsonl", content)
    changed = settings.model_copy(update={"training": settings.training.model_copy(update=changes)})
    return StartJob(job=job_for(path, id=name), path=str(path), settings=changed.model_dump(mode="json"))


@pytest.fixture
def base(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes working directories."""

    def make(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    return make


@pytest.fixture
def forked_followers(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have other processes come from one that has loaded everything already."""
    forking = SimpleNamespace(Popen=forked_popen(nursery.address), DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr("trainer.distributed.followers.subprocess", forking)


def losses(steps: Sequence[StepReport]) -> list[float | None]:
    return [step.loss for step in steps]


def followers() -> list[psutil.Process]:
    """Return the processes that this one has started to share its steps."""
    return [child for child in psutil.Process().children() if "trainer.mains.follower" in words_of(child)]


def words_of(process: psutil.Process) -> list[str]:
    """Return how a process was started; nothing once it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_two_processes_learn_what_one_learns_but_for_rounding(base, tiny_folder):
    # The last step of each file has a single row, of which one process gets nothing
    files = ("a", ragged(10), {}), ("b", ragged(4), {"learning_rate": 3e-3, "warmup_steps": 0})
    one, two = (
        settings_with(tiny_folder, training={"processes": number, "micro_batch_tokens": 128})
        for number in (1, 2)
    )

    expected = steps_of(base("one"), one, *files)
    found = steps_of(base("two"), two, *files)

    assert losses(found) == pytest.approx(losses(expected), abs=1e-5)
    assert [step.grad_norm for step in found] == pytest.approx(
        [step.grad_norm for step in expected], rel=1e-4
    )
    told = [(step.rows, step.tokens, step.supervised_tokens, step.learning_rate) for step in found]
    assert told == [(step.rows, step.tokens, step.supervised_tokens, step.learning_rate) for step in expected]
    assert followers() == []


@pytest.mark.usefixtures("forked_followers")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_without_anything_to_learn_changes_no_weight(base, tiny_folder, processes):
    # With averages of earlier gradients and a decay, a gradient of zero would move the weights
    training = {"processes": processes, "weight_decay": 0.1}
    settings = settings_with(tiny_folder, training=training, data={"max_length": 32, "validation": "quick"})
    learned = ("a", ragged(3), {})
    nothing = ("b", [row("word " * 50, "never seen")] * 3, {})
    once, twice = base("once"), base("twice")

    [step] = steps_of(once, settings, learned)
    _, empty = steps_of(twice, settings, learned, nothing)

    assert (empty.rows, empty.supervised_tokens, empty.loss, empty.not_applied) == (3, 0, None, None)
    assert step.loss is not None
    assert weights_sha256(twice) == weights_sha256(once)


@pytest.mark.usefixtures("forked_followers")
def test_one_process_answers_while_the_other_waits_and_nothing_learned_is_changed(base, noisy_folder):
    without, averaged = {"processes": 2}, {"processes": 2, "average": "ema"}
    asked = {
        "validation": {"suites": {"sums": "sums.jsonl"}, "interval_steps": 1},
        "previews": {"prompts": ["Say 3."], "interval_steps": 1, "max_new_tokens": 3, "max_seconds": 600},
        "monitoring": {"max_overhead_percent": 100},
    }
    file = ("a", rows(9), {})
    write_jsonl(base("with") / "sums.jsonl", rows(2))
    told = Told()

    steps_of(base("without"), settings_with(noisy_folder, training=without), file)
    # The averages answer, in the place of the weights that are trained
    steps_of(base("with"), settings_with(noisy_folder, training=averaged, **asked), file, told=told)

    assert [made.global_step for made in told.of(PreviewMade)] == [1, 2, 3]
    assert [scored.global_step for scored in told.of(SuiteScored)] == [1, 2, 3]
    assert weights_sha256(base("with")) == weights_sha256(base("without"))


@pytest.mark.usefixtures("forked_followers")
def test_two_processes_go_on_from_a_checkpoint_as_if_they_had_never_stopped(base, noisy_folder):
    settings = settings_with(noisy_folder, training={"processes": 2})
    file = ("a", rows(18), {})
    interrupted, whole = base("interrupted"), base("whole")

    steps_of(whole, settings, file)
    steps_of(interrupted, settings, file, stop_at=3)
    steps_of(interrupted, settings, file)

    assert weights_sha256(interrupted) == weights_sha256(whole)
    assert manifest_of(whole)["progress"]["global_step"] == 6
    moments = [optimizer_state(folder)["state"] for folder in (interrupted, whole)]
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[1])


def averaging(folder: Path, kind: str, *, interval_steps: int) -> Settings:
    """Return settings under which two processes keep an average, and every checkpoint."""
    return settings_with(
        folder,
        training={"processes": 2, "average": kind, "average_steps": HALF_LIFE},
        checkpoints={"interval_steps": interval_steps, "keep_last": STEPS},
    )


def checkpoints(base: Path) -> dict[int, Path]:
    """Return the folder of every checkpoint by its step."""
    found = (base / "models" / "checkpoints").glob("step-*")
    return {int(path.name.removeprefix("step-")): path for path in found if path.is_dir()}


@pytest.mark.usefixtures("forked_followers")
@pytest.mark.parametrize("kind", ["ema", "window"])
def test_a_kill_and_a_stop_change_no_bit_of_the_average_of_two_processes(base, noisy_folder, kind):
    seldom, always = (averaging(noisy_folder, kind, interval_steps=steps) for steps in (2, 1))
    file = ("a", rows(STEPS * ROWS_PER_STEP), {})
    interrupted, whole = base("interrupted"), base("whole")

    steps_of(whole, always, file)
    with pytest.raises(PowerCut):
        steps_of(interrupted, seldom, file, kill_at=3)  # so the third step is taken again
    steps_of(interrupted, seldom, file, stop_at=5)
    steps_of(interrupted, seldom, file)

    expected = {step: digest(checkpoint) for step, checkpoint in checkpoints(whole).items()}
    found = {step: digest(checkpoint) for step, checkpoint in checkpoints(interrupted).items()}
    assert found == {step: expected[step] for step in (2, 4, 5, STEPS)}
    published = interrupted / "models" / "current_average"
    assert published.resolve() == checkpoints(interrupted)[STEPS] / "average"


@pytest.mark.usefixtures("forked_followers")
@pytest.mark.parametrize("kind", ["ema", "window"])
def test_the_average_of_two_processes_is_that_of_the_weights_after_their_steps(base, noisy_folder, kind):
    file = ("a", rows(STEPS * ROWS_PER_STEP), {})

    steps_of(base("work"), averaging(noisy_folder, kind, interval_steps=1), file)

    saved = checkpoints(base("work"))
    assert sorted(saved) == [*range(1, STEPS + 1)]
    weights = [load_file(checkpoint / "model.safetensors") for _, checkpoint in sorted(saved.items())]
    for step, checkpoint in saved.items():
        shares = torch.tensor(shares_of(kind, step), dtype=torch.float64)
        for name, average in load_file(checkpoint / "average" / "model.safetensors").items():
            after_each = torch.stack([taken[name].double() for taken in weights[:step]])
            expected = torch.tensordot(shares, after_each, dims=1)
            torch.testing.assert_close(average.double(), expected, rtol=1e-6, atol=1e-6)


def shares_of(kind: str, steps: int) -> list[float]:
    """Return what the weights after each of the first steps count, by the definition of an average."""
    if kind == "window":
        dropped = HALF_LIFE * max(0, (steps - 1) // HALF_LIFE - 1)
        return [0.0] * dropped + [1 / (steps - dropped)] * (steps - dropped)
    shares: list[float] = []
    for number in range(1, steps + 1):
        newest = max(1 / number, 1 - 0.5 ** (1 / HALF_LIFE))
        shares = [*(share * (1 - newest) for share in shares), newest]
    return shares


@pytest.mark.usefixtures("forked_followers")
def test_another_number_of_processes_goes_on_from_the_same_checkpoint(base, tiny_folder):
    one, two = (settings_with(tiny_folder, training={"processes": number}) for number in (1, 2))
    file = ("a", ragged(12), {})
    mixed = base("mixed")

    expected = steps_of(base("one"), one, file)
    found = steps_of(mixed, two, file, stop_at=2) + steps_of(mixed, one, file)

    assert losses(found) == pytest.approx(losses(expected), abs=1e-5)


@pytest.mark.usefixtures("forked_followers")
def test_a_step_that_is_not_finite_in_one_process_is_applied_by_none(base, tiny_folder):
    one, two = (settings_with(tiny_folder, training={"processes": number}) for number in (1, 2))

    def spoil_second_step(engine: TrainerEngine) -> None:
        def spoil(module: Any, arguments: Any, output: Any) -> None:
            if engine.progress.global_step == 1:
                output.last_hidden_state = output.last_hidden_state * math.nan

        engine.trainer.model.get_decoder().register_forward_hook(spoil)

    file = ("a", rows(12), {})
    expected = steps_of(base("one"), one, file, prepare=spoil_second_step)
    found = steps_of(base("two"), two, file, prepare=spoil_second_step)

    assert [step.not_applied is None for step in found] == [True, False, True, True]
    assert losses(found)[2:] == pytest.approx(losses(expected)[2:], abs=1e-5)


@pytest.mark.usefixtures("forked_followers")
def test_a_process_whose_memory_is_too_small_repeats_its_shard_alone(base, tiny_folder):
    one, two = (
        settings_with(tiny_folder, training={"processes": number, "batch_size": 6}) for number in (1, 2)
    )
    file = ("a", ragged(6), {})
    memories = []

    def limit(engine: TrainerEngine) -> None:
        memories.append(SmallMemory(engine.trainer, fits=FITS))

    expected = steps_of(base("one"), one, file)
    found = steps_of(base("two"), two, file, prepare=limit)

    assert losses(found) == pytest.approx(losses(expected), abs=1e-5)
    assert max(memories[0].asked) > FITS, "memory was never too small"


class FarFollowers:
    """Starts followers that inherit nothing and share TCP and a folder with the worker."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self._nursery = nursery
        self.secret = secrets.token_hex(32)
        self.meeting_file = folder / "meeting"
        self.started: list[Forked] = []

    def start(self, rank: int, *, num_ranks: int, base_dir: Path) -> StartedFollower:
        self.meeting_file.touch(mode=0o600)
        listener = Listener("127.0.0.1", self.secret.encode())
        options = ["--base-dir", str(base_dir), "--rank", str(rank), "--num-ranks", str(num_ranks)]
        options += ["--meeting-file", str(self.meeting_file), "--connect", listener.address]
        environment = {**own_environment(), SECRET_VARIABLE: self.secret}
        process = self._nursery.fork("trainer.mains.follower", options, {2: 2}, environment=environment)
        endpoint = listener.accept(FOLLOWER_STARTS_S)
        listener.close()
        self.started.append(process)
        return StartedFollower(process, endpoint)  # type: ignore[arg-type]

    def close(self) -> None:
        self.meeting_file.unlink(missing_ok=True)


@pytest.mark.usefixtures("forked_followers")
def test_a_process_that_shares_only_a_connection_and_a_folder_learns_the_very_same(
    base, tiny_folder, nursery
):
    settings = settings_with(tiny_folder, training={"processes": 2})
    file = ("a", ragged(10), {})
    far = FarFollowers(base("meeting"), nursery)

    expected = steps_of(base("here"), settings, file)
    found = steps_of(base("elsewhere"), settings, file, followers=far)

    assert losses(found) == losses(expected)
    assert weights_sha256(base("elsewhere")) == weights_sha256(base("here"))
    assert [process.returncode for process in far.started] == [-signal.SIGKILL]


def test_a_process_elsewhere_ends_when_its_connection_does(base, nursery):
    far = FarFollowers(base("meeting"), nursery)
    started = far.start(1, num_ranks=2, base_dir=base("work"))

    started.endpoint.close()

    assert far.started[0].wait(FOLLOWER_STARTS_S) in (0, 1)


def test_when_a_process_cannot_go_on_the_first_says_why_and_ends(tmp_path, nursery):
    ended = nursery.run("tests.trainer.distributed.leader", str(tmp_path), str(nursery.address))

    assert ended.returncode == 1
    assert "it is not there, or no longer" in ended.stdout


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_processes_than_gpus_are_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(BadConfig, match=r"training.processes is 3, but GPUs that can be used: 2; expected"):
        visible_gpus(TrainingSettings(processes=3, device=device))


@pytest.mark.parametrize(
    "variable, gpus", [(None, ["0", "1"]), ("5,7", ["5", "7"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"])]
)
def test_each_process_gets_a_gpu_of_those_this_one_may_use(monkeypatch, variable, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable:
        monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", variable)

    assert visible_gpus(TrainingSettings(processes=2)) == gpus


def test_processes_on_the_cpu_are_not_limited_by_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    assert visible_gpus(TrainingSettings(processes=8, device="cpu")) == []
