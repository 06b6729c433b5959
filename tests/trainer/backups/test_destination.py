"""Backups go to folders and servers alike, passwords are never shown, and errors say what to do."""

import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from tests.support import every_case
from tests.trainer.backups.backup_rig import NOW
from trainer.backups import address as module
from trainer.backups.address import Address, UnusableDestination, address_of
from trainer.backups.destination import Destination, Incomplete, open_destination
from trainer.protocol.masking import masked, shown_address, without_secrets

BASE = Path("/srv/work")
MASKED = {
    "sftp://me:hunter2@host/backups": "sftp://me:***@host/backups",
    "sftp://me:hun%20ter2@host:22/b": "sftp://me:***@host:22/b",
    "sftp://me:p@ss@host/b": "sftp://me:***@host/b",
    "sftp://me:a/b@host/c": "sftp://***@host/c",
    "sftp://me@host/b": "sftp://me@host/b",
    "s3://bucket/folder?secret=hunter2": "s3://bucket/folder?***",
    "s3://key:hunter2@bucket/folder": "s3://key:***@bucket/folder",
    "s3://bucket/folder": "s3://bucket/folder",
    "/mnt/backup": "/mnt/backup",
    "/mnt/\x1b[31mred": "/mnt/\\x1b[31mred",
}


def test_an_address_is_shown_without_its_password():
    with every_case() as cases:
        for text, shown in MASKED.items():
            with cases.case(shown):
                assert masked(text) == shown


def test_a_library_that_quotes_a_password_is_not_quoted():
    url = "sftp://me:hun%20ter2@host/b?token=s3cr3t"

    assert without_secrets(f"cannot open {url}", url) == "cannot open sftp://me:***@host/b?***"
    assert without_secrets("no user me with hun ter2 and s3cr3t", url) == "no user me with *** and ***"
    assert without_secrets("auth: hun%20ter2", url) == "auth: ***"


@pytest.mark.parametrize(
    "text, path",
    [
        ("/mnt/backup", "/mnt/backup"),
        ("../backup", "/srv/backup"),
        ("backup", "/srv/work/backup"),
        ("file:///mnt/backup", "/mnt/backup"),
        ("local://backup", "/srv/work/backup"),
    ],
)
def test_a_folder_is_meant_from_the_working_directory_on(text, path):
    address = address_of(text, base_dir=BASE)

    assert (address.url, address.is_local) == (path, True)
    assert shown_address(text, BASE) == str(address.shown) == path


@pytest.mark.parametrize(
    "text", ["http://host/b", "zip://x", "memory://x", "nonsense://x", "simplecache::s3://b/f", "://x"]
)
def test_an_address_that_cannot_hold_backups_is_refused(text):
    with pytest.raises(UnusableDestination, match="expected a folder, or an address that begins with one of"):
        address_of(text, base_dir=BASE)


@pytest.mark.parametrize("scheme, package", [("sftp", "paramiko"), ("s3", "s3fs"), ("gs", "gcsfs")])
def test_without_its_package_a_server_is_refused_with_the_line_that_installs_it(monkeypatch, scheme, package):
    def missing(*args, **options):
        raise ImportError(f"install {package}")

    monkeypatch.setattr(module, "_known_hosts_only", object)
    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)

    with pytest.raises(UnusableDestination) as caught:
        open_destination(f"{scheme}://me:hunter2@host/b", base_dir=BASE)

    assert str(caught.value) == (
        f"{scheme}://me:***@host/b: {scheme}:// needs the package {package}, which is not installed; "
        f"install it: pip install {package}"
    )


def test_a_server_that_cannot_be_reached_is_refused_without_the_password(monkeypatch):
    def refused(url, **options):
        raise ConnectionError(f"cannot connect to {url}\nwith hunter2")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refused)

    with pytest.raises(UnusableDestination) as caught:
        open_destination("s3://me:hunter2@host/b", base_dir=BASE)

    assert str(caught.value) == (
        "s3://me:***@host/b cannot be reached: cannot connect to s3://me:***@host/b with ***"
    )
    assert caught.value.__cause__ is None


# ---- servers


class Server(LocalFileSystem):
    """A server whose files can be renamed, but not onto others, as with SFTP."""

    protocol = "sftp"
    cachable = False

    def mv(self, path1, path2, **options):
        assert not self.exists(path2)
        super().mv(path1, path2)


class CutOff(Server):
    """A server that has half of what was sent, and says nothing."""

    def put_file(self, lpath, rpath, **options):
        content = Path(lpath).read_bytes()
        Path(rpath).write_bytes(content[: len(content) // 2])


def server(kind, root):
    return Destination(Address("sftp://host/b", "sftp", "sftp://host/b"), kind(), str(root), writer="w")


@pytest.fixture
def bucket():
    files = MemoryFileSystem()
    files.store.clear()
    yield Destination(Address("s3://bucket/b", "s3", "s3://bucket/b"), files, "/bucket/b", writer="w")
    files.store.clear()


def test_a_server_holds_backups_as_a_folder_does(site, tmp_path):
    destination = server(Server, site.to)

    site.back_up(destination)
    again = site.back_up(destination)

    assert (again.sent_bytes, again.shares_device, again.to) == (0, False, "sftp://host/b")
    site.assert_whole()
    site.restore(tmp_path / "again")
    assert not [path for path in site.to.rglob("*") if path.name.endswith(".part")]


def test_a_bucket_holds_backups_too(site, bucket):
    site.back_up(bucket)
    again = site.back_up(bucket)

    assert again.sent_bytes == 0
    assert len(bucket.objects()) == len({file.sha256 for file in _manifests(bucket)[0].files})
    for sha256 in bucket.objects():
        assert bucket.sha256_of(f"objects/{sha256[:2]}/{sha256}") == sha256


def _manifests(destination):
    from trainer.backups import catalog

    return catalog.read_all(destination).backups


def test_what_a_server_has_half_of_never_looks_complete(site):
    destination = server(CutOff, site.to)

    with pytest.raises(Incomplete, match=r"has \d+ bytes after it was sent; expected \d+; try again"):
        site.back_up(destination)

    assert destination.objects() == {}
    assert _manifests(destination) == []


def test_a_disk_that_writes_something_else_is_noticed(site, monkeypatch):
    from trainer.backups import destination as written

    real, calls = written.file_sha256, []

    def hash_of(path):
        calls.append(path)
        return "0" * 64 if path.name.endswith(".part") else real(path)

    monkeypatch.setattr(written, "file_sha256", hash_of)

    with pytest.raises(Incomplete, match="differs from what was written"):
        site.back_up()

    assert site.destination.objects() == {}
    assert calls


def test_two_working_directories_may_send_the_same_object_at_once(tmp_path, monkeypatch):
    from trainer.backups import destination as written

    source, name = tmp_path / "file", f"objects/aa/{'a' * 64}"
    source.write_bytes(b"weights")
    one, other = (
        open_destination(str(tmp_path / "to"), base_dir=tmp_path / base) for base in ("one", "other")
    )
    acts = {"backup.copied": lambda: other.put(source, name)}  # once: before the copy has its name
    monkeypatch.setattr(written, "failpoint", lambda point: acts.pop(point, lambda: None)())

    one.put(source, name)

    assert one.read(name) == b"weights"
    assert one.half_written("objects") == []


def test_what_a_server_replaces_is_never_missing_if_it_can_rename_onto_files(tmp_path):
    class Renaming(Server):
        def mv(self, path1, path2, **options):
            os.replace(path1, path2)

        def rm_file(self, path):
            pytest.fail(f"{path} was removed")

    destination = server(Renaming, tmp_path / "to")
    destination.put_bytes(b"old", "manifests/1.json")

    destination.put_bytes(b"new", "manifests/1.json")

    assert destination.read("manifests/1.json") == b"new"


def test_a_server_that_cannot_rename_onto_files_has_the_new_one_too(tmp_path):
    destination = server(Server, tmp_path / "to")
    destination.put_bytes(b"old", "manifests/1.json")

    destination.put_bytes(b"new", "manifests/1.json")

    assert destination.read("manifests/1.json") == b"new"


def test_only_a_folder_of_this_machine_shares_its_device(site, tmp_path):
    assert site.destination.shares_device(tmp_path)
    assert not open_destination("/proc", base_dir=tmp_path).shares_device(tmp_path)
    assert not server(Server, tmp_path).shares_device(tmp_path)


def test_a_working_directory_is_no_place_for_its_own_backups(site):
    inside = open_destination("backups", base_dir=site.layout.base)

    with pytest.raises(UnusableDestination, match="is in the working directory, so it would be lost with it"):
        site.back_up(inside)

    assert not (site.layout.base / "backups").exists()


def test_nothing_at_a_destination_means_no_backup(site):
    assert _manifests(site.destination) == []
    assert site.clock() == NOW


def test_a_file_is_no_place_for_backups(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")

    with pytest.raises(UnusableDestination, match=r"letter.txt is a file; expected a folder"):
        open_destination("letter.txt", base_dir=tmp_path)
