"""A pin is a file beside a checkpoint, whoever made it."""

from trainer.protocol.pins import is_pinned, pin, unpin


def test_a_checkpoint_is_pinned_once_and_until_it_is_unpinned(tmp_path):
    checkpoint = tmp_path / "step-1"
    checkpoint.mkdir()

    found = [is_pinned(checkpoint), pin(checkpoint), pin(checkpoint), is_pinned(checkpoint)]
    released = [unpin(checkpoint), unpin(checkpoint), is_pinned(checkpoint)]

    assert found == [False, True, False, True]
    assert released == [True, False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_a_plain_touch_is_a_pin(tmp_path):
    (tmp_path / "step-1.pin").touch()

    assert is_pinned(tmp_path / "step-1")
    assert unpin(tmp_path / "step-1")
