"""A checkpoint store over time: whatever happens in whatever order, what was learned is not lost."""

import fcntl
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support import FakeClock, PowerCut
from tests.trainer.checkpoint_rig import EVERY_DAMAGE, EVERY_FILE, ORIGIN, damage, steps_in, write_files
from trainer.checkpoints import publishing
from trainer.checkpoints.publishing import NoRoom
from trainer.checkpoints.retention import Retention
from trainer.checkpoints.store import CheckpointStore
from trainer.protocol.checkpoints import DamagedCheckpoint, verify
from trainer.protocol.manifest import MANIFEST_NAME, Manifest, Progress

FAILPOINTS = sorted(set(re.findall(r'failpoint\("(.+?)"\)', Path(publishing.__file__).read_text())))
RULES = st.builds(
    Retention,
    keep_last=st.integers(2, 4),
    keep_every=st.none() | st.integers(1, 4),
    keep_best=st.integers(0, 2),
    max_bytes=st.none() | st.integers(1_000, 8_000),
)
LOSSES = st.none() | st.floats(0, 9)


class StoreOverTime(RuleBasedStateMachine):
    """Saves, crashes, damages and restarts at random; the disk is asked what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.models = Path(tempfile.mkdtemp())
        self.checkpoints = self.models / "checkpoints"
        self.clock = FakeClock()
        self.step = 0
        self.pinned: set[str] = set()
        self.held: dict[str, object] = {}
        self.is_pointer_good = True
        self.restart()

    def teardown(self) -> None:
        for name in list(self.held):
            self._let_go(name)
        shutil.rmtree(self.models)

    # ---- what happens

    @rule(
        rules=RULES, loss=st.none() | st.floats(0, 9), num_bytes=st.integers(0, 900), steps=st.integers(0, 2)
    )
    def save(self, rules, loss, num_bytes, steps):
        def write(folder: Path) -> None:
            write_files(folder)
            (folder / "model.safetensors").write_bytes(bytes(num_bytes))

        self.step += steps
        progress = Progress(global_step=self.step, validation_loss=loss)
        try:
            saved = self.store.save(write, origin=ORIGIN, progress=progress, rules=rules).result()
        except NoRoom:
            return
        self.is_pointer_good = True
        assert self.whole()[0] == saved.manifest
        assert self.pinned | self.held.keys() <= set(steps_in(self.models))

    @rule(rules=RULES, place=st.sampled_from(FAILPOINTS))
    def save_and_crash(self, rules, place):
        def fall_dark(name: str) -> None:
            if name == place:
                raise PowerCut

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publishing, "failpoint", fall_dark)
            try:
                self.save(rules, None, 10, 1)
            except PowerCut:
                went_dark = True
            else:
                went_dark = False
        if went_dark:
            self.restart()

    @rule()
    def restart(self):
        self.store = CheckpointStore(self.models, clock=self.clock)
        newest = self.store.newest_verified()
        whole = self.whole()
        assert (newest.manifest if newest else None) == (whole[0] if whole else None)
        gone = (self.pinned | self.held.keys()) - set(steps_in(self.models))
        assert all(list(self.checkpoints.glob(f"corrupt-{name}*")) for name in gone), "only damaged ones"
        self.pinned -= gone
        for name in gone & self.held.keys():
            self._let_go(name)
        self.is_pointer_good = True

    @precondition(lambda self: len(self.whole()) >= 2)
    @rule(data=st.data(), name=st.sampled_from(EVERY_FILE), how=st.sampled_from(EVERY_DAMAGE))
    def damage_a_file(self, data, name, how):
        path = data.draw(st.sampled_from([path for path in self._paths() if self._manifest(path)]))
        if (path / name).stat().st_size:
            damage(path / name, how)
            self.is_pointer_good = False

    @precondition(lambda self: steps_in(self.models))
    @rule(data=st.data())
    def pin(self, data):
        name = data.draw(st.sampled_from(steps_in(self.models)))
        (self.checkpoints / f"{name}.pin").touch()
        self.pinned.add(name)

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data):
        name = data.draw(st.sampled_from(sorted(self.pinned)))
        (self.checkpoints / f"{name}.pin").unlink()
        self.pinned.remove(name)

    @precondition(lambda self: self._free_to_hold())
    @rule(data=st.data())
    def hold(self, data):
        name = data.draw(st.sampled_from(self._free_to_hold()))
        file = (self.checkpoints / name / MANIFEST_NAME).open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        self.held[name] = file

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data):
        self._let_go(data.draw(st.sampled_from(sorted(self.held))))

    @rule(now=st.floats(0, 4e9))
    def set_the_clock(self, now):
        self.clock.now = now

    # ---- what always holds

    @invariant()
    def what_was_once_published_is_not_lost(self):
        assert self.whole() or not (self.checkpoints.exists() and any(self.checkpoints.glob("*step-*[0-9]")))

    @invariant()
    def sequence_numbers_are_unique(self):
        sequences = [manifest.sequence for manifest in self.whole()]
        assert len(set(sequences)) == len(sequences)

    @invariant()
    def the_current_model_is_whole(self):
        if self.is_pointer_good and self.whole():
            assert verify((self.models / "current_model").resolve()) == self.whole()[0]

    # ---- looking at the disk

    def whole(self) -> list[Manifest]:
        """Return the manifests of all whole checkpoints, newest first."""
        found = [manifest for path in self._paths() if (manifest := self._manifest(path))]
        return sorted(found, key=lambda manifest: manifest.sequence, reverse=True)

    def _paths(self) -> list[Path]:
        return [self.checkpoints / name for name in steps_in(self.models)]

    def _manifest(self, path: Path) -> Manifest | None:
        try:
            return verify(path)
        except DamagedCheckpoint:
            return None

    def _free_to_hold(self) -> list[str]:
        return [path.name for path in self._paths() if self._manifest(path) and path.name not in self.held]

    def _let_go(self, name: str) -> None:
        self.held.pop(name).close()


TestStoreOverTime = StoreOverTime.TestCase
TestStoreOverTime.pytestmark = [pytest.mark.long]
TestStoreOverTime.settings = settings(max_examples=25, stateful_step_count=25)


def test_every_failpoint_of_publishing_is_known_here():
    assert {"checkpoint.renamed", "pointer.linked", "retention.renamed"} <= set(FAILPOINTS)
