"""Each system call of a transition fails once, or is the last one: nothing is lost or doubled."""

import itertools
import shutil
import signal

import pytest

from daemon.jobs.job_queue import JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from tests.faults.injection import CALLS, FAULTS, Injector, require_strace
from tests.faults.transitions import note_a_job, publish_third_checkpoint, queue_one_file, save_checkpoint
from tests.support import rows, write_jsonl
from trainer.checkpoints.store import CheckpointStore
from trainer.protocol.files import read_json
from trainer.protocol.job import Priority
from trainer.protocol.layout import Layout

FOLDERS = {"waiting": "normal", "processing": "processing", "failed": "failed"}


@pytest.fixture
def injector(tmp_path):
    require_strace()
    return Injector(tmp_path / "strace.log")


def sabotaged(injector, tmp_path, prepare, make_base, call, fault):
    """Yield a folder for each N, where the N-th such call has gone wrong, until there is no N-th."""
    for number in itertools.count(1):
        base = make_base(tmp_path / str(number))
        result = injector.run(prepare, base, f"{call}:{FAULTS[fault]}:when={number}")
        if not result.was_hit:
            assert result.exit_code == 0
            return
        assert result.exit_code in ((-signal.SIGKILL,) if fault == "KILL" else (0, 3))
        yield base


def base_with_a_file(path):
    layout = Layout(path)
    layout.create()
    write_jsonl(layout.waiting(Priority.NORMAL) / "a.jsonl", rows(2))
    return path


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_file_on_its_way_through_the_queue_is_always_in_one_place(injector, tmp_path, call, fault):
    content = write_jsonl(tmp_path / "wanted", rows(2)).read_bytes()

    for base in sabotaged(injector, tmp_path, queue_one_file, base_with_a_file, call, fault):
        layout = Layout(base)
        ledger = Ledger(layout.ledger_file, clock=lambda: 2e9)
        strangers = JobQueue(layout, ledger, Journal([])).recover()

        [job] = ledger._database.read("SELECT * FROM jobs")
        [path] = layout.base.rglob("a.jsonl")
        assert path.read_bytes() == content
        assert path.parent.name == FOLDERS[job["state"]]
        assert strangers == []
        assert [path for path in layout.queue.rglob(".*")] == [layout.moves_lock_file], "a left-over"
        ledger.close()


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["pwrite64", "ftruncate", "fsync", "fdatasync"])
def test_the_ledger_does_not_forget_what_could_not_be_made_durable_at_once(injector, tmp_path, call, fault):
    for base in sabotaged(injector, tmp_path, note_a_job, base_with_a_file, call, fault):
        ledger = Ledger(Layout(base).ledger_file, clock=lambda: 2e9)

        assert len(list(ledger.open_files())) == 1
        ledger.close()


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A models folder, to be copied."""
    models = tmp_path_factory.mktemp("models")
    store = CheckpointStore(models)
    store.newest_verified()
    save_checkpoint(store, 1)
    save_checkpoint(store, 2)
    return models


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_checkpoint_is_published_whole_or_not_at_all(injector, tmp_path, two_checkpoints, call, fault):
    def copied(path):
        return shutil.copytree(two_checkpoints, path, symlinks=True)

    for base in sabotaged(injector, tmp_path, publish_third_checkpoint, copied, call, fault):
        store = CheckpointStore(base)
        newest = store.newest_verified()

        step = newest.manifest.progress.global_step
        assert step in (2, 3)
        assert read_json(newest.path / "state" / "optimizer.json") == step
        assert (base / "current_model").resolve() == newest.path.resolve()
        assert store.notices == []
        save_checkpoint(store, 4)
        assert CheckpointStore(base).newest_verified().manifest.progress.global_step == 4
        assert not list(base.rglob(".*")), "a left-over"


@pytest.mark.parametrize("number, was_hit", [(1, True), (1000, False)])
def test_only_a_call_that_is_made_can_go_wrong(injector, tmp_path, number, was_hit):
    base = base_with_a_file(tmp_path / "base")

    result = injector.run(queue_one_file, base, f"linkat:error=EIO:when={number}")

    assert (result.exit_code, result.was_hit) == (3 if was_hit else 0, was_hit)
    assert (Layout(base).failed / "a.jsonl.reason.json").exists() is not was_hit
