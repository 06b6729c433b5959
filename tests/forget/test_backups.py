"""A forgotten file goes out of the backups, too; what cannot be reached is named, and stops nothing."""

import json

import pytest

from daemon.cli.training_models import app
from tests.daemon.cli.runner import runner_of
from tests.trainer.backups.backup_rig import make_site
from trainer.backups.destination import object_name
from trainer.mains.forget import carry_out
from trainer.protocol.forgetting import ORDER_FILE, SCRATCH, Erased, ForgetOrder, OrderHeader, write_order

run = runner_of(app)


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)


@pytest.fixture
def kept(site):
    """Return the SHA-256 of a file that the site keeps, and that its backups have."""
    [path] = site.layout.kept_files.iterdir()
    return path.name


def ordered(site, sha256):
    """Ask for a file to be forgotten that the model was never trained on."""
    header = OrderHeader(
        sha256=sha256,
        reason="a test",
        newest="step-000000009-2",
        base=None,
        base_branch=0,
        base_step=0,
        is_trained=False,
        settings={},
        erased=Erased(files=(f"models/data/{sha256}",)),
    )
    write_order(site.layout.models / SCRATCH / ORDER_FILE, header, ())


def forget(site, to):
    said = []
    forgot = carry_out(ForgetOrder(base_dir=site.layout.base, backup_to=to), said.append)
    return forgot, said


def test_backups_that_saw_it_go_and_all_others_lose_the_file(site, kept):
    only_has_it = site.back_up()
    saw_it = site.back_up(saw=(kept,))
    ordered(site, kept)

    forgot, said = forget(site, str(site.to))

    assert (forgot.removed_backups, forgot.cleaned_backups) == ((saw_it.id,), (only_has_it.id,))
    assert [backup.id for backup in site.manifests()] == [only_has_it.id]
    assert not (site.to / object_name(kept)).exists()
    assert not (site.layout.kept_files / kept).exists()
    site.assert_whole()
    assert said[-1] == f"erasing it from the backups in {site.to}"
    assert forgot.unreached == (
        f"copies outside of this folder and of {site.to}, such as exports, deployments and other machines",
    )


def test_a_backup_that_does_not_say_all_it_has_seen_is_named(site, kept):
    unsure = site.back_up(is_saw_complete=False)
    ordered(site, kept)

    forgot, _ = forget(site, str(site.to))

    assert f"the backups {unsure.id} in {site.to}, which do not say all that their weights saw" in (
        forgot.unreached
    )


def test_a_destination_that_cannot_be_reached_is_named_without_its_password(site, kept):
    ordered(site, kept)

    forgot, _ = forget(site, "sftp://me:hunter2@127.0.0.1:1/backups")

    assert forgot.removed_backups == ()
    [why, _] = forgot.unreached
    assert why.startswith("the backups in sftp://me:***@127.0.0.1:1/backups: ")
    assert why.endswith("; forget the file again then")
    assert "hunter2" not in why
    assert not (site.layout.kept_files / kept).exists()
    assert not (site.layout.models / SCRATCH).exists()


@pytest.mark.long
def test_the_command_shows_the_backups_and_removes_them(site):
    saw_it = site.back_up(saw=("1" * 64,))  # as started.jsonl has it in the ledger
    other = site.back_up()
    site.layout.config_file.write_text(json.dumps({"backup": {"to": str(site.to)}}))

    plan = run(site.layout, "forget", "started.jsonl", "--dry-run").stdout.splitlines()
    document = json.loads(run(site.layout, "forget", "started.jsonl", "--dry-run", "--json").stdout)["plan"]
    assert len(site.manifests()) == 2
    answer = run(site.layout, "forget", "started.jsonl", "--yes").stdout

    assert f"  erased in {site.to}: 1 backup that has seen it" in plan
    assert plan[-1] == "  out of reach: exports, deployments and other machines"
    assert (document["backup_to"], document["removed_backups"]) == (str(site.to), [saw_it.id])
    assert "the file is erased; 1 backup that had seen it removed; not erased: copies outside" in answer
    assert [backup.id for backup in site.manifests()] == [other.id]


def test_the_plan_says_that_the_backups_cannot_be_reached(site):
    to = {"backup": {"to": "sftp://me:hunter2@127.0.0.1:1/backups"}}
    site.layout.config_file.write_text(json.dumps(to))

    plan = run(site.layout, "forget", "started.jsonl", "--dry-run")

    assert plan.exit_code == 0
    assert "  the backups cannot be reached now, and keep it if that lasts: sftp://me:***@" in plan.stdout
    assert "hunter2" not in plan.stdout


def test_the_plan_says_that_no_backup_has_it_as_where_a_disk_is_not_mounted(site):
    site.layout.config_file.write_text(json.dumps({"backup": {"to": str(site.to)}}))

    plan = run(site.layout, "forget", "started.jsonl", "--dry-run").stdout.splitlines()

    assert f"  no backup in {site.to} has it; if a disk belongs there, see that it is mounted" in plan
