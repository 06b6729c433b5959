"""Where things lie, and that nobody else can look into them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout, find_base_dir

FOLDERS = [
    "control",
    "inbox",
    "inbox/high",
    "inbox/low",
    "inbox/normal",
    "logs",
    "models",
    "queue",
    "queue/failed",
    "queue/high",
    "queue/low",
    "queue/normal",
    "queue/processing",
    "queue/recently_completed",
    "queue/skipped",
    "status",
]


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def folders_below(base: Path) -> list[str]:
    return sorted(str(path.relative_to(base)) for path in base.rglob("*"))


def test_first_use_creates_every_folder_and_nothing_else(tmp_path):
    Layout(tmp_path / "new" / "base").create()

    assert folders_below(tmp_path / "new" / "base") == FOLDERS


def test_every_folder_is_private_whatever_the_umask(tmp_path, umask):
    layout = Layout(tmp_path / "base")

    layout.create()

    assert {mode(folder) for folder in layout.folders()} == {0o700}


@pytest.mark.parametrize("open_mode", [0o755, 0o770, 0o701, 0o710])
def test_an_open_folder_is_closed_and_keeps_its_files(tmp_path, open_mode):
    layout = Layout(tmp_path)
    layout.create()
    (layout.models / "weights").write_text("x")
    for folder in layout.folders():
        folder.chmod(open_mode)

    layout.create()

    assert {mode(folder) for folder in layout.folders()} == {0o700}
    assert (layout.models / "weights").read_text() == "x"


def test_a_folder_the_owner_closed_further_stays_so(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    layout.logs.chmod(0o500)

    layout.create()

    assert mode(layout.logs) == 0o500


def test_the_working_directory_itself_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)

    Layout(tmp_path).create()

    assert mode(tmp_path) == 0o755


def test_a_folder_may_be_a_symlink_to_a_bigger_disk_whose_rights_are_its_owners(tmp_path):
    layout, disk = Layout(tmp_path / "base"), tmp_path / "disk"
    layout.base.mkdir()
    disk.mkdir(mode=0o755)
    layout.models.symlink_to(disk)

    layout.create()

    assert layout.models.is_symlink()
    assert mode(disk) == 0o755


def test_a_file_where_a_folder_belongs_is_an_error_and_is_kept(tmp_path):
    (tmp_path / "queue").write_text("mine")

    with pytest.raises(FileExistsError, match="queue"):
        Layout(tmp_path).create()

    assert (tmp_path / "queue").read_text() == "mine"


def test_the_outcomes_have_the_folders_that_the_user_knows():
    layout = Layout(Path("/base"))

    assert [str(layout.finished(outcome)) for outcome in Outcome] == [
        "/base/queue/recently_completed",
        "/base/queue/failed",
        "/base/queue/skipped",
    ]
    assert layout.failed == layout.finished(Outcome.FAILED)
    assert [layout.waiting(priority).name for priority in Priority] == ["high", "normal", "low"]


@pytest.mark.parametrize(
    "option, variable, found",
    [
        (Path("/option"), "/variable", "/option"),
        (None, "/variable", "/variable"),
        (None, "", "."),
        (None, None, "."),
        (Path("relative"), None, "relative"),
    ],
)
def test_base_dir_is_the_option_else_the_variable_else_here(tmp_path, monkeypatch, option, variable, found):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAINING_BASE_DIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("TRAINING_BASE_DIR", variable)

    assert find_base_dir(option) == tmp_path / found
