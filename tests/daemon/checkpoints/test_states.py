"""The states that are kept, read without having in memory many times what they have in common."""

from daemon.checkpoints.states import kept_states
from tests.health import publish
from tests.support import FakeClock
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch
from trainer.versions.registry import Versions


def branch(number):
    return Branch(
        number=number,
        from_branch=number - 1,
        from_step=number,
        left_step=number + 5,
        at="2026-01-01T00:00:00Z",
        why="gate",
        reason="worse",
        jobs=(),
    )


def test_checkpoints_and_versions_are_found_with_the_branches_they_share(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    publish(layout, 1, step=1, branches=(branch(1),))
    newest = publish(layout, 2, step=2, branches=(branch(1), branch(2)))
    Versions(layout.models, clock=FakeClock()).create(newest, made_by="hand", trained=lambda parent: ())

    states = list(kept_states(layout.models))

    assert sorted((state.is_version, state.step) for state in states) == [(False, 1), (False, 2), (True, 2)]
    first = {id(state.manifest.branches[0]) for state in states}
    second = {id(state.manifest.branches[1]) for state in states if state.step == 2}
    assert (len(first), len(second)) == (1, 1)


def test_a_state_that_cannot_be_read_is_left_out(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    damaged, whole = (publish(layout, number, step=number) for number in (1, 2))
    (damaged / "MANIFEST.json").write_text("{")

    assert [state.path for state in kept_states(layout.models)] == [whole]
