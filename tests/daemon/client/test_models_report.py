"""The report on the model says what happened in the period, and what is true to do next."""

from types import SimpleNamespace

import pytest

from daemon import disk
from daemon.cli.models_report_text import why_text
from daemon.client import Client
from daemon.client.models_now import disk_now
from daemon.client.models_report import Since, since_seconds, since_version
from daemon.client.trash import trash_folders
from daemon.disk import DiskKeeper
from tests.daemon.client.eventful import EVIL, HOUR, NOW, Life, eventful_day
from tests.daemon.ledger.entries import step
from tests.health import begin_to_forget, damage, tree
from tests.support import FakeClock, eventually
from trainer.config.schema import Settings
from trainer.protocol.disk import Place, Usage
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.manifest import Branch, JobFate, Progress
from trainer.protocol.text import utc_text


@pytest.fixture
def client(layout):
    return Client(layout.base)


@pytest.fixture
def life(layout):
    life = Life(layout)
    yield life
    life.close()


def since(hours):
    return since_seconds(hours * HOUR, clock=FakeClock(NOW))


def report(client, life, hours=24.0):
    life.ledger.commit()
    return client.report(since(hours))


def commands(found):
    return [step.command for step in found.next]


# ---- what was trained


def test_a_period_has_what_was_trained_in_it_alone(client, life):
    life.at(48).train("old.jsonl", 4)
    life.at(5).train("new.jsonl", 3)

    found = report(client, life)

    assert (found.step_then, found.current_step) == (4, 7)
    [file] = found.files
    assert (file.name, file.first_step, file.last_step, file.steps, file.rows) == ("new.jsonl", 5, 7, 3, 3)
    assert (file.tokens, file.seconds, file.first_loss) == (30, 1.5, 1.0)
    assert (found.trained.files, found.trained.steps, found.trained.tokens) == (1, 3, 30)


def test_of_a_file_that_began_before_only_the_part_in_it_counts(client, life):
    job = life.at(48).job("long.jsonl")
    life.ledger.add_steps([step(number, job_id=job.id) for number in range(1, 11)])
    life.event("checkpoint", global_step=6)
    life.at(5).event("checkpoint", global_step=10)

    [file] = report(client, life).files

    assert (file.state, file.first_step, file.last_step, file.steps, file.tokens) == (
        "processing", 7, 10, 4, 40,
    )  # fmt: skip


def test_a_whole_file_counts_whole_although_its_steps_were_thinned_out(client, life):
    job = life.at(5).train("long.jsonl", 300)
    life.ledger._database.write("DELETE FROM steps WHERE global_step % 100 != 0", ())

    found = report(client, life)

    assert (found.trained.steps, found.trained.tokens, found.files[0].job_id) == (300, 3000, job.id)


def test_the_curves_are_those_of_the_period(client, life):
    life.at(48).train("old.jsonl", 4)
    life.validate(2.0)
    life.at(5).train("new.jsonl", 3, loss=0.6)
    life.validate(1.5)

    found = report(client, life)

    assert [point.first_step for point in found.loss.points] == [5, 6, 7]
    assert [(point.first_step, point.mean) for point in found.validation.points] == [(4, 2.0), (7, 1.5)]


def test_where_nothing_was_trained_there_is_no_curve_of_before(client, life):
    life.at(48).train("old.jsonl", 4)

    found = report(client, life)

    assert (found.files, found.loss.points, found.trained.steps) == ([], [], 0)


def test_a_period_that_begins_with_a_version_begins_with_its_step(client, life):
    life.at(48).train("old.jsonl", 4)
    life.publish(1)
    life.ledger.commit()
    version, _ = client.models.create()
    life.at(47).train("new.jsonl", 3)
    life.publish(2)
    life.ledger.commit()

    begin = since_version(version)

    assert begin == Since(at=utc_text(NOW - 48 * HOUR), version="v001", global_step=4)
    assert [file.name for file in client.report(begin).files] == ["new.jsonl"]


# ---- what went otherwise


def test_files_that_failed_are_named_with_the_reason_also_those_that_never_became_jobs(client, life):
    life.at(48).fail("before.jsonl", "odd")
    life.at(5).fail(EVIL, "line 1: \x1b[2J")
    life.at(4).event("failed", "x", level="warning", file="empty.jsonl", reason="it is empty")

    found = report(client, life)

    assert [(file.outcome, file.kind, file.reason) for file in found.ended_otherwise] == [
        ("failed", "bad_data", "line 1: \\x1b[2J"),
        ("failed", None, "it is empty"),
    ]
    assert found.num_ended_otherwise == 2
    assert "\x1b" not in found.ended_otherwise[0].name
    assert found.repeated == []  # not said twice


def test_of_a_file_that_failed_it_is_known_whether_one_of_its_name_was_completed_afterwards(client, life):
    life.at(7).train("worse.jsonl", 1)
    life.at(6).fail("worse.jsonl", "odd")
    life.at(5).fail("mended.jsonl", "odd")
    life.at(4).event("failed", level="warning", file="refused.jsonl", reason="it is empty")
    for name in ("mended.jsonl", "refused.jsonl"):
        life.at(3).train(name, 1)
    life.publish(1)

    found = report(client, life)

    at = utc_text(NOW - 3 * HOUR)
    assert [(file.name, file.completed_at) for file in found.ended_otherwise] == [
        ("worse.jsonl", None),
        ("mended.jsonl", at),
        ("refused.jsonl", at),
    ]
    assert why_text(found.ended_otherwise[1]).startswith(
        "odd. A file of this name was completed afterwards ("
    )


def test_of_two_files_of_one_name_that_were_cleared_away_each_is_named_where_it_lies(client, life):
    retry = "queue it again: training_queue retry bad.jsonl"
    for hours in (5, 4):
        life.at(hours).fail("bad.jsonl", retry)
        client.queue.clear(Outcome.FAILED)

    found = report(client, life)

    first, second = trash_folders(life.layout)
    assert [file.reason for file in found.ended_otherwise] == [
        f"{retry.removesuffix('bad.jsonl')}{folder.name}/bad.jsonl" for folder in (first, second)
    ]


def branch(life, *, to, at=NOW - HOUR):
    return Branch(
        number=1,
        from_branch=0,
        from_step=to,
        left_step=life.step,
        at=utc_text(at),
        why="rollback",
        reason="worse",
        jobs=(JobFate(job_id="20260101-000000-000002", fate="undone"),),
    )


def test_after_going_back_what_is_undone_is_not_counted_as_trained(client, life):
    life.at(48).train("old.jsonl", 4)
    life.at(5).train("new.jsonl", 3)
    gone = branch(life, to=2)
    life.ledger.branches.begin(gone, [gone])

    found = report(client, life)

    assert [(went.from_step, went.left_step, went.reason) for went in found.went_back] == [(2, 7, "worse")]
    assert (found.step_then, found.current_step, found.files) == (2, 2, [])


def test_of_a_file_that_is_to_be_trained_again_only_the_part_that_stays_counts(client, life):
    job = life.at(5).train("new.jsonl", 3)
    gone = branch(life, to=2)
    life.ledger.branches.begin(gone, [gone])
    life.ledger._database.write("UPDATE jobs SET state = ?", ("waiting",))

    found = report(client, life)

    [file] = found.files
    assert (file.job_id, file.state, file.steps, file.rows, file.tokens) == (job.id, "waiting", 2, 2, 20)
    assert (found.trained.rows, found.trained.tokens, found.trained.seconds) == (2, 20, 1.0)


def test_a_model_that_went_back_while_no_daemon_ran_is_reported_as_it_is(client, life):
    life.at(48).train("old.jsonl", 4)
    life.at(5).train("new.jsonl", 3)
    gone = branch(life, to=5)
    life.step = 5
    life.publish(3, branches=(gone,))

    found = report(client, life)

    assert (found.current_step, [went.number for went in found.went_back]) == (5, [1])
    assert [(file.name, file.last_step) for file in found.files] == [("new.jsonl", 5)]
    assert [point.last_step for point in found.loss.points] == [5]


def test_steps_that_a_kill_or_a_restored_backup_left_in_the_ledger_alone_are_not_counted(client, life):
    life.at(5).train("kept.jsonl", 4)
    life.publish(2)
    life.at(4).train("lost.jsonl", 3)

    found = report(client, life)

    assert (found.current_step, found.trained.steps) == (4, 4)
    assert [file.name for file in found.files] == ["kept.jsonl"]
    assert [point.last_step for point in found.loss.points] == [1, 2, 3, 4]


def test_crashes_are_those_of_the_period_and_daemons_that_were_killed_count(client, life):
    life.at(48).crash("long ago")
    life.at(5).crash("just now")
    for kind in ("started", "stopped", "started", "started"):
        life.event(f"daemon_{kind}", pid=1)

    found = report(client, life)

    assert [(group.count, group.message) for group in found.crashes] == [(1, "just now")]
    assert found.daemon_crashes == 1


def test_what_was_no_crash_of_the_worker_is_listed_but_not_called_one(client, life):
    life.at(5).crash("a wrong path", FaultKind.BAD_CONFIG)
    before = report(client, life)
    life.at(4).crash("just now")

    after = report(client, life)

    assert "training_health crashes" not in commands(before)
    assert [group.message for group in before.crashes] == ["a wrong path"]
    assert "the worker crashed once" in [step.why for step in after.next]


def test_warnings_of_a_kind_are_one_with_their_number(client, life):
    for number in range(3):
        life.at(5 - number).event("notice", f"the loss jumped at {number}", level="warning")

    [repeated] = report(client, life).repeated

    assert (repeated.kind, repeated.count, repeated.message) == ("notice", 3, "the loss jumped at 2")


def test_verdicts_of_the_gate_are_reported(client, life):
    life.at(5).event("gate_passed", "kept", files=["chat.jsonl", "b\x1b.jsonl"])

    [verdict] = report(client, life).gate

    assert (verdict.verdict, verdict.files, verdict.message) == (
        "gate_passed", ("chat.jsonl", "b\\x1b.jsonl"), "kept",
    )  # fmt: skip


@pytest.mark.parametrize("content, seconds", [('{"full_in_s": 32400}', 32400.0), ("[]", None), ("{", None)])
def test_the_forecast_of_the_disk_is_reported_while_somebody_measures_it(client, layout, content, seconds):
    (layout.status / "disk.json").write_text(content)

    assert disk_now(layout, client.settings, is_watched=True).full_in_s == seconds
    assert disk_now(layout, client.settings, is_watched=False).full_in_s is None


def test_versions_of_the_period_and_damaged_ones_are_reported(client, life):
    life.at(5).train("new.jsonl", 3)
    life.publish(1)
    life.ledger.commit()
    version, _ = client.models.create(note="good")
    (version.path.parent / "v002").mkdir()

    found = report(client, life)

    assert [(line.id, line.is_current, line.notes) for line in found.versions] == [("v001", True, ("good",))]
    assert list(found.damaged_versions) == ["v002"]


# ---- what to do next


def test_what_to_do_next_is_true_now(client, life):
    life.at(5).train("new.jsonl", 3)
    life.publish(1)
    life.fail("bad.jsonl", "odd")

    assert commands(report(client, life)) == [
        "training_daemon start",
        "training_queue list --failed",
        "training_models create",
    ]

    (life.layout.failed / "bad.jsonl").unlink()
    client.models.create()

    assert commands(report(client, life)) == ["training_daemon start"]


def test_a_file_that_was_to_be_forgotten_and_is_not_comes_next(client, life):
    begin_to_forget(life.layout)

    assert commands(report(client, life))[1] == "training_models forget 6335b439f31c"


@pytest.mark.parametrize("weights, is_offered", [("last", True), ("average", False)])
def test_going_back_is_offered_only_by_losses_of_the_same_weights(client, life, weights, is_offered):
    life.at(5).train("good.jsonl", 3)
    life.publish(1, progress=_measured(life, 1.0, weights))
    client.models.create()
    life.at(4).train("bad.jsonl", 3)
    life.validate(2.0)
    life.publish(2)

    offered = "training_models rollback --to v001 --dry-run"
    assert (offered in commands(report(client, life))) == is_offered


def test_the_forecast_is_read_where_a_daemon_writes_it(client, layout, monkeypatch):
    clock = FakeClock(1_000.0)
    keeper = DiskKeeper(
        layout, EventList(), SimpleNamespace(set=lambda **shown: None),
        tell_worker=lambda rules: None, on_result=lambda: None, clock=clock, wall_clock=clock,
    )  # fmt: skip
    for used in (10**9, 2 * 10**9):
        place = Place(name="logs", folder="logs", bytes=used, files=1)
        usage = Usage(places=(place,), free_bytes=10**10, total_bytes=10**11, checkpoint_bytes=0)
        monkeypatch.setattr(disk.one_shot, "ask", lambda *order, usage=usage: usage)
        clock.now += 3600.0
        keeper.look_after(Settings())
        eventually(lambda: keeper._task is None or keeper._task.is_done, timeout_s=60, what="the answer")
        clock.now += 1.0
        keeper.look_after(Settings())

    found = disk_now(layout, client.settings, is_watched=True)

    assert found.full_in_s == pytest.approx(36_000.0, rel=0.01)


class EventList(list):
    def record(self, event):
        self.append(event)


def test_a_disk_that_is_nearly_full_comes_early(client, life, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(total=10**12, free=600 * 2**20))

    found = report(client, life)

    assert commands(found)[1] == "training_health check"
    assert "629 MB of disk space are free; below 537 MB no file is started" in found.next[1].why


# ---- wherever it is asked for


def test_where_nothing_has_happened_the_report_says_so(client, layout):
    found = client.report(since(24))

    assert (found.current_step, found.files, found.versions, found.crashes) == (0, [], [], [])
    assert commands(found) == ["training_daemon start"]


def test_a_report_on_a_stopped_directory_changes_nothing(client, layout):
    eventful_day(layout)
    damage(next((layout.models / "checkpoints").glob("step-*")))
    before = tree(layout)

    found = client.report(since(24))

    assert tree(layout) == before
    assert (found.trained.files, found.num_ended_otherwise, found.daemon_crashes) == (2, 2, 1)


class _Usage:
    def __init__(self, *, total, free):
        self.total, self.free = total, free


def _measured(life, loss, weights):
    return Progress(
        global_step=life.step, validation_loss=loss, validation_weights=weights, validated_step=life.step
    )
