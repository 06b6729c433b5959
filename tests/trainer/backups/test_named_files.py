"""Files below the working directory that settings name are in a backup, and a restored one finds them."""

import json
import os

import pytest

from daemon.client.named_files import unusable_names
from tests.support import every_case
from tests.trainer.backups.backup_rig import rewrite
from trainer.backups.pruning import forget_in_backups
from trainer.config.loader import load_settings
from trainer.mains import back_up
from trainer.protocol.backups import BackupOrder, CreateTask
from trainer.protocol.files import file_sha256

QUESTION = '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}\n'


@pytest.fixture
def make(site, monkeypatch):
    """Return what makes a backup as a command does."""
    monkeypatch.setattr(back_up, "stand_back", lambda *, idle: None)

    def run():
        order = BackupOrder(base_dir=site.layout.base, to=str(site.to), task=CreateTask(why="asked for"))
        return back_up.carry_out(order, lambda words: None)

    return run


def configure(site, **settings):
    site.layout.config_file.write_text(json.dumps(settings))


def put(site, name, content=QUESTION):
    path = site.layout.base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_restored_folder_has_every_file_that_its_settings_name(site, make, tmp_path):
    configure(
        site,
        validation={"file": "evaluation/held out.jsonl", "suites": {"sums": "./evaluation/sums.jsonl"}},
        previews={"file": "prompts.jsonl"},
        model={"chat_template": "templates/own.jinja"},
    )
    held_out = put(site, "evaluation/held out.jsonl")
    os.utime(held_out, ns=(1, 1_234_567_890_123_456_789))
    put(site, "evaluation/sums.jsonl", QUESTION * 2)
    put(site, "prompts.jsonl", QUESTION * 3)
    put(site, "templates/own.jinja", "{{ messages }}")

    made = make()
    site.restore(tmp_path / "again")

    again = tmp_path / "again"
    assert made.notes == ()
    assert list(unusable_names(load_settings(again / "config.json").settings, again)) == []
    assert (again / "evaluation/sums.jsonl").read_text() == QUESTION * 2
    restored = (again / "evaluation/held out.jsonl").stat()
    assert (restored.st_mtime_ns, restored.st_mode & 0o777) == (1_234_567_890_123_456_789, 0o600)
    site.assert_whole()


def test_a_file_that_changed_without_its_time_is_in_the_next_backup_as_it_is(site, make, tmp_path):
    configure(site, validation={"file": "v.jsonl"})
    path = put(site, "v.jsonl", QUESTION)
    make()
    before = path.stat()
    path.write_text(QUESTION.replace("Why?", "How?"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    make()
    site.restore(tmp_path / "again")

    assert "How?" in (tmp_path / "again/v.jsonl").read_text()


LEFT_OUT = {
    "/etc/hostname": 'expected a relative path without ".."',
    "../outside.jsonl": 'expected a relative path without ".."',
    "evaluation/../v.jsonl": 'expected a relative path without ".."',
    "link.jsonl": "a symbolic link leads out of the working directory",
    "into.jsonl": "models is the daemon's own",
    "queue/high/other.jsonl": "queue is the daemon's own",
    "INBOX/x.jsonl": "INBOX is the daemon's own",
    "gone.jsonl": "No such file or directory; correct the path",
    "evaluation": "Is a directory; correct the path",
    "pipe": "it is a pipe or a device; expected a file",
    "secret": "notify.secret_file names it, too",
    "to_secret": "notify.secret_file names it, too",
}


def test_what_is_left_out_is_said_and_is_not_in_it(site, make):
    put(site, "evaluation/v.jsonl")
    (site.layout.base.parent / "outside.jsonl").write_text(QUESTION)
    (site.layout.base / "link.jsonl").symlink_to("../outside.jsonl")
    (site.layout.base / "into.jsonl").symlink_to("models/data")
    os.mkfifo(site.layout.base / "pipe")
    put(site, "secret", "hunter2")
    (site.layout.base / "to_secret").symlink_to("secret")

    with every_case() as cases:
        for path, said in LEFT_OUT.items():
            with cases.case(path):
                configure(site, previews={"file": path}, notify={"secret_file": "secret", "command": ["x"]})
                [note] = make().notes
                assert note.startswith('previews.file is "')
                assert said in note
                assert site.manifests()[-1].named == ()


def test_a_link_to_a_file_of_the_folder_is_restored_as_the_file(site, make, tmp_path):
    configure(site, validation={"file": "v.jsonl", "suites": {"same": "v.jsonl"}})
    put(site, "evaluation/today.jsonl")
    (site.layout.base / "v.jsonl").symlink_to("evaluation/today.jsonl")

    assert make().notes == ()
    site.restore(tmp_path / "again")

    assert (tmp_path / "again/v.jsonl").read_text() == QUESTION
    assert not (tmp_path / "again/v.jsonl").is_symlink()


def test_the_secret_of_notifications_is_in_no_backup(site, make):
    configure(site, notify={"secret_file": "secret", "command": ["x"]})
    secret = put(site, "secret", "hunter2")

    assert make().notes == ()

    assert file_sha256(secret) not in site.manifests()[-1].objects


def test_settings_that_cannot_be_used_are_said_and_stop_no_backup(site, make):
    configure(site, validation={"file": 5})

    [note] = make().notes

    assert note.startswith(
        "files that settings name are not in it, because these cannot be used: config.json"
    )
    assert "config.json" in {file.path for file in site.manifests()[-1].files}


def test_a_forgotten_content_is_gone_also_where_settings_name_it(site, make, tmp_path):
    configure(site, validation={"file": "v.jsonl", "suites": {"other": "w.jsonl"}})
    forgotten = file_sha256(put(site, "v.jsonl"))
    put(site, "w.jsonl", QUESTION * 2)
    made = make()

    done = forget_in_backups(site.destination, [forgotten], origin=site.origin)

    assert done.cleaned == (made.id,)
    assert [backup.named for backup in site.manifests()] == [("w.jsonl",)]
    site.assert_whole()
    site.restore(tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").glob("*.jsonl")) == ["w.jsonl"]


def test_a_backup_from_before_there_were_named_files_is_restored(site, make, tmp_path):
    make()
    [path] = (site.to / "manifests").iterdir()
    rewrite(path, lambda content: content.pop("named"))

    site.restore(tmp_path / "again")

    assert (tmp_path / "again/config.json").exists()
