"""Kill and compare: after any crash the weights are, bit for bit, those of an uninterrupted run."""

import ast

import pytest

from tests.crash.chaos import bring_to_an_end, rage
from tests.crash.lab import ROOT
from tests.crash.model_life import ModelLife, settings_for_life

KILLS = 9  # for each method; `scripts/crashtest --kills 500` is the long version


@pytest.mark.parametrize(
    "method, background, seed", [("full", "never", 1), ("lora", "never", 2), ("full", "always", 3)]
)
def test_random_kills_change_no_bit_of_what_is_learned(make_lab, method, background, seed):
    lab = make_lab(seed=seed, method=method, background=background)
    steps_before_kills = []

    for _ in rage(lab, kills=KILLS, seed=seed):
        steps_before_kills.append(lab.num_steps())

    assert bring_to_an_end(lab) == [], f"seed {seed}"
    assert sum(map(bool, steps_before_kills)) > KILLS / 2, "most kills came after something had been learned"


@pytest.mark.parametrize(
    "method, training",
    [
        ("full", {"optimizer": "muon", "schedule": "cosine", "neftune_noise_alpha": 5.0}),
        ("qlora", {"optimizer": "adamw_8bit", "schedule": "wsd", "decay_fraction": 0.5, "lora_dora": True}),
    ],
    ids=["muon, cosine, noise", "4 and 8 bits, wsd"],
)
def test_kills_change_no_bit_whatever_the_way_of_training(make_lab, method, training):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    lab = make_lab(seed=6, method=method, training=training)

    for _ in rage(lab, kills=2, seed=6):
        pass

    assert bring_to_an_end(lab) == []


@pytest.mark.parametrize("method", ["full", "lora"])
def test_kills_change_no_bit_of_what_profiles_and_a_grown_vocabulary_make(make_lab, method):
    shares = {"plain": 0.3, "emoji_think": 0.4, "regime3": 0.3}
    profile = {"name": "mix", "options": {"shares": shares}}
    lab = make_lab(seed=7, method=method, model={"grow_vocabulary": True}, profile=profile)

    for _ in rage(lab, kills=2, seed=7):
        pass

    assert bring_to_an_end(lab) == []


def test_kills_change_no_bit_of_what_is_learned_beside_rows_of_earlier_files(make_lab):
    lab = make_lab(seed=4, training={"replay_fraction": 0.25})
    lab.drop(20)
    lab.start()
    lab.until_done()
    for num_rows, folder in [(30, "low"), (24, "normal"), (16, "high")]:
        lab.drop(num_rows, folder)

    for _ in range(5):
        lab.until_another_step()
        lab.let_time_pass(0.3)
        lab.kill_something()

    assert bring_to_an_end(lab) == []
    assert lab.num_replayed() > 0


def test_kills_while_prompts_are_answered_change_no_bit_of_what_is_learned(make_lab):
    asked = {"prompts": ["Say 3."], "interval_steps": 2, "max_new_tokens": 10, "temperature": 0.8}
    every_time = {"max_overhead_percent": 100}
    lab = make_lab(seed=7, sections={"previews": asked, "monitoring": every_time})

    for _ in rage(lab, kills=3, seed=7):
        pass

    assert bring_to_an_end(lab) == []
    assert set(lab.previewed_steps()) <= set(range(2, lab.num_steps() + 1, 2))
    assert len(lab.previewed_steps()) > 3


def test_kills_change_no_bit_of_what_is_learned_from_packed_files(make_lab):
    lab = make_lab(seed=5, training={"replay_fraction": 0.25})
    for num_rows, folder in [(20, "normal"), (24, "normal"), (16, "high")]:
        lab.drop(num_rows, folder, packed=True)
    lab.start()

    for _ in range(3):
        lab.until_another_step()
        lab.let_time_pass(0.3)
        lab.kill_something()

    assert bring_to_an_end(lab) == []
    assert not list((lab.layout.models / "cache").glob("tmp*")), "what was unpacked is gone with its worker"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_file_that_is_overtaken_paused_and_killed_goes_on_at_its_very_next_step(make_lab, method):
    lab = make_lab(seed=5, method=method)
    lab.wait_to_be_overtaken(at_step=4)
    lab.drop(200)
    lab.start()
    lab.until(lambda: lab.status().get("current_job"), "the first file to be trained")
    lab.drop(120, "high")
    lab.until(lambda: lab.times_preempted() == 1, "the file to be overtaken")

    lab.kill_workers()
    lab.until_step(lab.num_steps() + 3)
    lab.ask("pause")
    lab.until(lambda: lab.status().get("status") == "paused", "the pause")
    lab.kill_daemon()
    lab.start()
    lab.ask("resume")

    assert bring_to_an_end(lab) == []
    assert lab.order()[-1] == "file-0.jsonl", "the overtaken file is the last to end"


def failpoints_of_a_save() -> list[str]:
    """Return what a worker meets when it publishes a checkpoint and removes old ones, as in the source."""
    tree = ast.parse((ROOT / "trainer" / "checkpoints" / "publishing.py").read_text())
    return sorted(
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "failpoint"
        and isinstance(node.args[0], ast.Constant)
    )


def test_dying_at_every_boundary_of_a_save_changes_no_bit_of_what_is_learned(make_lab):
    # Without a spine, so that each worker has a checkpoint to remove
    often = {"group_commit_s": 0.3, "interval_s": 0.2, "background": "never", "spine_max_bytes": 0}
    lab = make_lab(seed=3, sections={"checkpoints": often})
    failpoints = failpoints_of_a_save()
    assert {name.partition(".")[0] for name in failpoints} >= {"checkpoint", "pointer", "retention"}
    for folder in ("normal", "low", "high"):
        lab.drop(60, folder)
    lab.arm(failpoints)

    lab.start()

    assert bring_to_an_end(lab) == []
    assert lab.worker_deaths() == ["the worker was killed by SIGKILL"] * len(failpoints)


def test_kills_while_the_model_goes_back_forgets_or_is_backed_up_change_no_bit_of_what_is_learned(
    make_lab, tmp_path
):
    lab = make_lab(seed=9, sections=settings_for_life(tmp_path, "lab"))
    life = ModelLife(lab, seed=9)
    lab.drop(12)
    lab.drop(20)
    lab.start()
    lab.until_done()
    acts = [life.create_version, life.roll_back, life.forget, life.back_up, life.free_disk]

    for act in acts:
        life.begin(act)
        lab.let_time_pass(0.2)
        lab.kill_something()

    assert bring_to_an_end(lab, life) == []
    assert len(lab.forgotten()) == 1
    assert lab.times_back() > 0
