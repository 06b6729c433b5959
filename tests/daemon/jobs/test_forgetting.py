"""From where the model is trained again without a file, and when that is not possible."""

import pytest

from daemon.files.identity import Identity, identity_of
from daemon.jobs.forget_orders import ForgetWish, forgetting_of, order_to_forget
from daemon.jobs.forgetting import CannotForget
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import step
from tests.health import merge_into, publish
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch
from trainer.versions.registry import Versions

MERGED_AT = 2


@pytest.fixture
def layout(tmp_path):
    """A working directory where early.jsonl was trained in steps 1 and 2, and late.jsonl in steps 3 and 4."""
    layout = Layout(tmp_path)
    layout.create()
    layout.kept_files.mkdir()
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for number, name in enumerate(("early.jsonl", "late.jsonl")):
        path = write_jsonl(layout.logs / name, rows(2, start=10 * number))
        job = job_for(path, id=f"job-{number}")
        path.rename(layout.kept_files / job.sha256)
        ledger.add_job(job, Identity(1, number + 1, job.size_bytes, 1), "completed")
        first = 2 * number + 1
        ledger.add_steps([step(first + i, job_id=job.id, file_step=i + 1) for i in (0, 1)])
    ledger.close()
    return layout


def merged(layout):
    """Keep the state of step 2 as a version; return the merge that followed."""
    before = publish(layout, 1, step=MERGED_AT)
    versions = Versions(layout.models, clock=FakeClock())
    kept = versions.create(before, made_by="consolidate", trained=lambda parent: ())
    return merge_into("step-000000002-abc", step=MERGED_AT, merged=before.name, kept_as=kept.id)


def follow(layout, branch):
    """Have the ledger know that the model went back to step 2, and trained late.jsonl there."""
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.branches.begin(branch, [branch])
    ledger.add_steps([step(2 + i, job_id="job-1", file_step=i) for i in (1, 2)])
    ledger.close()


def wish_for(name, *, keep_versions=False):
    return ForgetWish(name=name, keep_versions=keep_versions, reason="a test")


def plan_of(layout, name):
    with forgetting_of(layout, wish_for(name)) as forgetting:
        return forgetting.plan()


def test_a_file_that_is_part_of_a_merged_base_model_is_not_forgotten(layout):
    merge = merged(layout)
    publish(layout, 2, step=MERGED_AT, consolidations=(merge,))
    publish(layout, 3, step=4, consolidations=(merge,))
    expected = (
        "the adapter was merged into the base model at step 2, and the file came in at step 1, so the base "
        "model has it in its weights; go back to the state before that, have what came since trained again, "
        "and then forget the file: training_models rollback --to v001 --requeue"
    )

    assert plan_of(layout, "early.jsonl").missing == (expected,)
    with pytest.raises(CannotForget) as raised:
        order_to_forget(layout, wish_for("early.jsonl"), {})
    assert str(raised.value) == expected


def test_without_a_state_from_between_the_merge_and_the_file_it_is_not_forgotten(layout):
    publish(layout, 3, step=4, consolidations=(merged(layout),))

    [why] = plan_of(layout, "late.jsonl").missing

    assert why.startswith(
        "the adapter was merged into the base model at step 2, and no state is kept from after that and "
        "before step 3, at which the file came in; go back to the state before that, "
    )


@pytest.mark.parametrize(
    "name, way_out",
    [
        (
            "early.jsonl",
            ", and so is every state from before the file; to be rid of it, train the other files in another "
            "working directory: training_daemon init FOLDER",
        ),
        (
            "late.jsonl",
            "; go back to before the file, have the others trained again, and then forget it: "
            "training_models rollback --steps 2 --requeue --without job-1",
        ),
    ],
)
def test_a_state_before_the_merge_that_is_gone_is_not_advised(layout, name, way_out):
    merge = merged(layout).model_copy(update={"kept_as": "v007"})
    publish(layout, 3, step=4, consolidations=(merge,))

    [why] = plan_of(layout, name).missing

    assert why.endswith(f"; version v007, the state before that, is gone, too{way_out}")


def test_a_file_that_came_after_the_merge_is_forgotten_from_there(layout):
    merge = merged(layout)
    after = publish(layout, 2, step=MERGED_AT, consolidations=(merge,))
    publish(layout, 3, step=4, consolidations=(merge,))

    plan = plan_of(layout, "late.jsonl")

    assert (plan.base, plan.missing) == (f"checkpoints/{after.name}", ())


def test_a_model_that_went_back_before_the_merge_is_trained_on_from_before_it(layout):
    merge = merged(layout)
    publish(layout, 2, step=MERGED_AT, consolidations=(merge,))
    branch = Branch(
        number=1, from_branch=0, from_step=2, left_step=2, at="now", why="rollback", reason="", jobs=()
    )
    publish(layout, 3, step=4, branches=(branch,))
    follow(layout, branch)

    plan = plan_of(layout, "late.jsonl")

    assert (plan.base, plan.missing) == ("checkpoints/step-000000002-1", ())


# ---- merged base models


@pytest.fixture
def gone_back(layout):
    """The model went back over the merge of step 2; a checkpoint and a version from after it are kept."""
    merge = merged(layout)
    after = publish(layout, 2, step=MERGED_AT, consolidations=(merge,))
    versions = Versions(layout.models, clock=FakeClock())
    versions.create(after, made_by="hand", trained=lambda parent: ())
    branch = Branch(
        number=1, from_branch=0, from_step=2, left_step=2, at="now", why="rollback", reason="", jobs=()
    )
    publish(layout, 3, step=4, branches=(branch,))
    follow(layout, branch)
    (layout.models / merge.base).mkdir(parents=True)
    return layout


def test_a_base_model_that_was_merged_from_the_file_goes_with_all_beside_it(gone_back):
    plan = plan_of(gone_back, "early.jsonl")

    assert plan.bases == ("step-000000002-abc",)
    assert plan.versions == ("v001", "v002")


def test_a_base_model_from_before_the_file_stays(gone_back):
    assert plan_of(gone_back, "late.jsonl").bases == ()


def test_a_base_model_that_a_version_needs_which_is_to_be_kept_stays(gone_back):
    with forgetting_of(gone_back, wish_for("early.jsonl", keep_versions=True)) as forgetting:
        plan = forgetting.plan()

    assert (plan.bases, plan.versions) == ((), ())


@pytest.mark.parametrize(
    "name, is_erased",
    [("step-000000001-abc", True), ("step-000000000-abc", False), ("step-odd", True)],
)
def test_a_base_model_that_nothing_names_goes_if_it_may_have_seen_the_file(layout, name, is_erased):
    publish(layout, 1, step=4)
    (layout.models / "bases" / name).mkdir(parents=True)

    assert plan_of(layout, "early.jsonl").bases == ((name,) if is_erased else ())


def test_a_version_in_the_trash_that_has_seen_the_file_goes_too(layout):
    versions = Versions(layout.models, clock=FakeClock())
    for at in (2, 4):
        made = versions.create(publish(layout, at, step=at), made_by="hand", trained=lambda parent: ())
        versions.delete(made)

    assert plan_of(layout, "late.jsonl").versions == ("v002",)
    assert plan_of(layout, "early.jsonl").versions == ("v001", "v002")


def test_the_notes_beside_a_file_that_was_cleared_away_go_with_it(layout):
    trash = layout.trash / "skipped-20260101-000000"
    trash.mkdir(parents=True)
    cleared = write_jsonl(trash / "bad.jsonl", rows(2, start=30))
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.add_job(job_for(cleared, id="job-2"), identity_of(cleared.lstat()), "skipped")
    ledger.close()

    with forgetting_of(layout, wish_for("bad.jsonl")) as forgetting:
        files = forgetting.header(settings={}, reason="bad").erased.files

    note = trash / "bad.jsonl.reason.json"
    assert {str(path.relative_to(layout.base)) for path in (cleared, note)} <= set(files)


def test_the_plan_names_rejected_rows_of_what_the_file_was_before_it_was_corrected(layout):
    trash = layout.trash / "failed-20260101-000000"
    trash.mkdir(parents=True)
    (trash / "late.jsonl.rejected.jsonl").write_text("{}")
    (trash / "early.jsonl.rejected.jsonl").write_text("{}")

    assert plan_of(layout, "late.jsonl").others == (
        "queue/.trash/failed-20260101-000000/late.jsonl.rejected.jsonl",
    )


def test_the_plan_names_the_locked_setting_that_was_changed(layout):
    publish(layout, 1, step=2, locked={"data.max_length": 512, "training.method": "full"})
    publish(layout, 2, step=4, locked={"data.max_length": 256, "training.method": "full"})

    [why] = plan_of(layout, "late.jsonl").missing

    assert why.startswith("data.max_length changed after step-000000002-1, so what came after cannot be")


def test_the_plan_names_the_aliases_that_mean_nothing_afterwards(layout):
    publish(layout, 1, step=2)
    seen = publish(layout, 2, step=4)
    versions = Versions(layout.models, clock=FakeClock())
    versions.alias("deployed", versions.create(seen, made_by="hand", trained=lambda parent: ()))

    plan = plan_of(layout, "late.jsonl")

    assert (plan.versions, plan.aliases, plan.is_in_training) == (("v001",), ("deployed",), False)


def test_the_plan_knows_that_the_newest_checkpoint_lacks_steps_of_the_file(layout):
    publish(layout, 1, step=3)

    plan = plan_of(layout, "late.jsonl")

    assert (plan.current_step, plan.is_in_training) == (3, True)


def test_nothing_is_forgotten_while_the_ledger_shows_what_the_model_was_before_it_went_back(layout):
    branch = Branch(
        number=1, from_branch=0, from_step=2, left_step=4, at="now", why="rollback", reason="", jobs=()
    )
    publish(layout, 1, step=2, branches=(branch,))

    with pytest.raises(
        CannotForget, match=r"^the model went back while no daemon ran, .*training_daemon start$"
    ):
        plan_of(layout, "late.jsonl")


def test_the_report_on_its_rows_is_erased_and_that_of_another_job_is_not(layout):
    with forgetting_of(layout, wish_for("early.jsonl")) as forgetting:
        files = forgetting.header(settings={}, reason="bad").erased.files

    reports = {file for file in files if file.startswith("status/data_reports/")}
    assert reports == {"status/data_reports/job-0.json", "status/data_reports/early.jsonl.json"}
