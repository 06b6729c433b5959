"""A daemon whose disk runs full frees what it may, trains as long as it can, and says what helps."""

import json

from trainer.protocol.job import Outcome

MORE_THAN_THERE_IS = 2**62


def cache(rig):
    folder = rig.layout.models / "cache"
    folder.mkdir()
    path = folder / "old.tokens"
    path.write_bytes(bytes(10_000))
    return path


def test_caches_are_freed_and_the_shortage_is_shown_while_training_continues(rig):
    path = cache(rig)
    rig.configure(daemon={"min_free_bytes": 0}, disk={"min_free_bytes": MORE_THAN_THERE_IS})

    rig.start().drop("a.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until(lambda: rig.events("disk_low"), "the shortage")
    assert not path.exists()
    [freed] = rig.events("disk_freed")
    assert "1 token cache removed" in freed
    rig.until(lambda: any("disk space runs out" in alert for alert in rig.status()["alerts"]), "the alert")

    rig.configure(daemon={"min_free_bytes": 0})
    rig.until(lambda: rig.events("disk_ample"), "the end of the shortage")
    rig.until(lambda: rig.status()["alerts"] == [], "the end of the alert")


def test_training_is_blocked_only_after_space_could_not_be_freed_and_the_reason_says_what_helps(rig):
    path = cache(rig)
    rig.configure(daemon={"min_free_bytes": MORE_THAN_THERE_IS})
    rig.drop("a.jsonl")

    rig.start()
    shown = rig.until_status("blocked")

    assert not path.exists()
    assert "(daemon.min_free_bytes); free some space; " in shown["status_reason"]
    assert "training_models disk" in shown["status_reason"]
    assert len(rig.events("blocked")) == 1
    rig.configure()
    rig.until_in(Outcome.COMPLETED, "a.jsonl")


def test_what_was_measured_survives_the_daemon(rig):
    report = {
        "measured_at": "2026-01-01T00:00:00.000Z",
        "usage": {"places": [], "free_bytes": 5, "total_bytes": 9, "checkpoint_bytes": 1},
        "used_bytes": 4,
        "growth_bytes_per_hour": None,
        "full_in_s": None,
        "samples": [],
    }
    (rig.layout.status / "disk.json").write_text(json.dumps(report))

    rig.start()

    shown = rig.until(lambda: rig.status()["disk"], "the disk in the status")
    assert (shown["used_bytes"], shown["measured_at"]) == (4, report["measured_at"])
