"""A backup that is made in the middle of a file continues elsewhere as if it had never been moved."""

import json

import pytest

from tests.crash.replay import digest


@pytest.mark.loads_torch
def test_a_restored_backup_ends_with_the_very_same_model(make_daemon):
    here = make_daemon("here")
    to = ("--to", str(here.layout.base.with_name("backups")))
    here.drop("a.jsonl", 41)
    here.start()
    here.wait_for_completed(1)
    here.drop("b.jsonl", 200)
    here.drop("c.jsonl", 40, "low")
    here.wait_for_step(31)
    here.command("training_controller", "pause", "--wait", "200")

    made = json.loads(here.command("training_models", "backup", "create", *to, "--json"))
    here.command("training_controller", "resume", "--wait", "200")
    here.wait_for_completed(3)
    here.stop()
    expected = digest(here.layout.models / "current_model")
    base = here.layout.base.rename(here.layout.base.with_name("lost"))
    into = base.with_name("there")
    here.command("training_models", "backup", "restore", *to, "--into", str(into), "--yes")
    drilled = json.loads(here.command("training_models", "backup", "drill", *to, "--json"))
    there = make_daemon("there")
    assert there.run("--once") == 0

    assert (drilled["passed"], drilled["is_exact"], drilled["id"]) == (True, True, made["id"])
    assert 21 < made["global_step"] < 121  # in the middle of b.jsonl
    assert digest(there.layout.models / "current_model") == expected
    assert there.files_in("recently_completed") == ["b.jsonl", "c.jsonl"]
    assert there.rows_trained() == {"a.jsonl": 41, "b.jsonl": 200, "c.jsonl": 40}
