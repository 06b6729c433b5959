"""What a person sees: the real daemon, the real worker, real files."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.crash.nursery import workers_of
from tests.crash.replay import digest
from tests.support import PATIENCE_S, eventually, rows, write_jsonl

TORCH_FREE_RSS_BYTES = 60 * 1024 * 1024


@pytest.mark.loads_torch
def test_a_walk_through_everything_a_user_does(daemon_as_users_have_it):
    daemon = daemon_as_users_have_it
    daemon.start()
    write_jsonl(daemon.layout.inbox / "first.jsonl", rows(400))
    daemon.wait_for_step(3)
    first = daemon.status()
    assert first["status"] == "training"
    assert first["current_file"] == "first.jsonl"
    assert first["file_total_steps"] == 200

    assert daemon.command("training_controller", "pause", "--reason", "lunch", "--wait", "200") == "paused\n"
    held = daemon.status()
    assert (held["status"], held["status_reason"]) == ("paused", "lunch")

    daemon.drop("later.jsonl", 20, "low")
    daemon.drop("urgent.jsonl", 40, "high")
    daemon.drop("unwanted.jsonl", 2000, "high")
    daemon.wait_for("three waiting files", lambda s: (s["queue"]["high"], s["queue"]["low"]) == (2, 1))
    assert daemon.status()["current_step"] == held["current_step"], "nothing is trained during a pause"

    assert daemon.command("training_controller", "resume") == "training continues\n"
    daemon.wait_for("the unwanted file", lambda s: s["current_file"] == "unwanted.jsonl" and s["file_step"])
    assert daemon.command("training_controller", "skip", "--wait", "200").startswith("skipped")
    assert daemon.files_in("skipped") == ["unwanted.jsonl"]

    daemon.wait_for_completed(3)
    assert daemon.command("training_controller", "stop", "--wait", "200") == "the daemon has stopped\n"

    assert daemon.status()["status"] == "stopped"
    assert daemon.files_in("recently_completed") == ["first.jsonl", "later.jsonl", "urgent.jsonl"]
    trained = daemon.rows_trained()
    assert (trained["first.jsonl"], trained["urgent.jsonl"], trained["later.jsonl"]) == (400, 40, 20)
    order = daemon.query(
        "SELECT display FROM jobs ORDER BY (SELECT min(global_step) FROM steps WHERE job_id = jobs.id)"
    )
    assert [name for (name,) in order] == ["first.jsonl", "urgent.jsonl", "unwanted.jsonl", "later.jsonl"]
    assert {kind for (kind,) in daemon.query("SELECT DISTINCT kind FROM events")} >= {
        "command",
        "accepted",
        "checkpoint",
    }


def test_after_any_stop_or_crash_training_ends_with_the_very_same_weights(make_daemon):
    calm, stormy = make_daemon("calm"), make_daemon("stormy")
    for running in (calm, stormy):
        running.drop("a.jsonl", 300)
        running.drop("b.jsonl", 61)
    assert calm.run("--once", "--set", "checkpoints.interval_s=0.5") == 0

    stormy.start("--set", "checkpoints.interval_s=0.5")
    stormy.wait_for_step(20)
    os.kill(stormy.status()["worker_pid"], signal.SIGKILL)
    stormy.wait_for("another worker", lambda s: s["worker_pid"] and s["status"] == "training")
    stormy.wait_for_step(60)
    assert stormy.stop() == 0
    stormy.start()
    stormy.wait_for("training", lambda s: s["status"] == "training" and s["current_step"] > 70)
    stormy.kill()
    eventually(lambda: not workers_of(stormy.layout.base), what="no orphan")
    assert stormy.run("--once") == 0

    assert stormy.rows_trained() == calm.rows_trained() == {"a.jsonl": 300, "b.jsonl": 61}
    assert stormy.weights() == calm.weights()
    found = [digest(running.layout.models / "current_model") for running in (stormy, calm)]
    assert found[0] == found[1]
    assert stormy.status()["samples_seen"] == 361


def test_many_files_by_every_kind_of_writer_are_each_trained_exactly_once(daemon):
    daemon.start()
    source = daemon.layout.base / "source.jsonl"
    write_jsonl(source, rows(5))
    slow = (
        "import sys, time, pathlib\n"
        "with open(sys.argv[2], 'wb', buffering=0) as out:\n"
        "    for byte in pathlib.Path(sys.argv[1]).read_bytes():\n"
        "        out.write(bytes([byte])); time.sleep(0.005)\n"
    )

    writer = subprocess.Popen(
        [sys.executable, "-c", slow, str(source), str(daemon.layout.inbox / "slow.jsonl")]
    )
    for number in range(20):
        subprocess.run(["cp", str(source), str(daemon.layout.inbox / f"cp-{number}.jsonl")], check=True)
        daemon.drop(f"mv-{number}.jsonl", 5)
        os.link(source, daemon.layout.inbox / f"ln-{number}.jsonl")
    writer.wait(timeout=PATIENCE_S)
    daemon.wait_for_completed(61)

    assert set(daemon.rows_trained().values()) == {5}
    assert len(daemon.rows_trained()) == 61
    assert daemon.files_in("failed") == []
    assert daemon.query("SELECT count(*) FROM jobs WHERE state <> 'completed'") == [(0,)]


def test_bad_rows_and_bad_files_go_where_they_belong_and_the_rest_trains(daemon):
    bad_row = '{"messages": [{"role": "asistant", "content": "x"}]}'
    write_jsonl(daemon.layout.inbox / "one-bad.jsonl", [*rows(150), bad_row])
    write_jsonl(daemon.layout.inbox / "mostly-bad.jsonl", [bad_row] * 5)
    (daemon.layout.inbox / "empty.jsonl").touch()
    (daemon.layout.inbox / "link.jsonl").symlink_to("/etc/passwd")

    assert daemon.run("--once") == 1, "a file failed"

    assert daemon.rows_trained() == {"one-bad.jsonl": 150}
    assert daemon.files_in("failed") == [
        *("empty.jsonl", "link.jsonl", "mostly-bad.jsonl"),
        *("mostly-bad.jsonl.rejected.jsonl", "one-bad.jsonl.rejected.jsonl"),
    ]
    rejected = json.loads((daemon.layout.failed / "one-bad.jsonl.rejected.jsonl").read_text())
    assert rejected["line"] == 151
    assert 'messages[0].role is "asistant"' in rejected["reason"]


def test_a_missing_base_model_blocks_without_touching_a_file_until_it_is_there(daemon):
    daemon.layout.config_file.write_text(json.dumps({"model": {"base_model": "./no-such-model"}}))
    daemon.drop("a.jsonl", 4)
    daemon.start()

    daemon.wait_for("blocked", lambda s: s.get("status") == "blocked")
    assert "no-such-model" in daemon.status()["status_reason"]
    assert daemon.files_in("normal") == ["a.jsonl"]
    assert daemon.query("SELECT attempts FROM jobs") == [(0,)]

    daemon.layout.config_file.write_text(json.dumps({"model": {"base_model": "tiny"}}))
    daemon.wait_for_completed(1)


def test_a_second_daemon_is_refused_at_once_and_named_the_first(daemon):
    first = daemon.start()
    daemon.wait_for("a heartbeat", lambda s: s.get("status") == "idle")

    second = subprocess.run(
        [sys.executable, "-m", "daemon.cli.training_daemon", "--base-dir", str(daemon.layout.base)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert second.returncode == 1
    assert second.stderr.startswith(f"error: a daemon is already running here (pid {first.pid})")
    assert first.poll() is None


def test_the_model_can_be_loaded_as_soon_as_a_file_is_trained(daemon, nursery):
    daemon.drop("a.jsonl", 20)
    assert daemon.run("--once") == 0

    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        "M.from_pretrained(sys.argv[1]); print(T.from_pretrained(sys.argv[1]).eos_token)"
    )
    loaded = nursery.run("tests.crash.run_code", code, str(daemon.layout.models / "current_model"))

    assert loaded.stdout == "<|im_end|>\n", loaded.stderr


def test_an_idle_daemon_is_small_and_quiet(daemon):
    process = psutil.Process(daemon.start().pid)
    daemon.wait_for("idle", lambda s: s.get("status") == "idle")

    before = process.cpu_times()
    heartbeat = daemon.status()["heartbeat_at"]
    daemon.wait_for("the next heartbeat", lambda s: s["heartbeat_at"] != heartbeat)
    after = process.cpu_times()

    assert process.memory_info().rss < TORCH_FREE_RSS_BYTES
    assert (after.user + after.system) - (before.user + before.system) < 0.1


def test_strange_names_survive_the_trip(daemon):
    names = ["plain name.jsonl", "new\nline.jsonl", "naïve 🙂.jsonl", os.fsdecode(b"not\xffutf8.jsonl")]
    for number, name in enumerate(names):
        write_jsonl(daemon.layout.inbox / name, rows(2, start=2 * number))

    assert daemon.run("--once") == 0

    assert daemon.files_in("recently_completed") == sorted(names)
