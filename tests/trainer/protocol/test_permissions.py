"""Permissions to change a locked setting are kept once each, and garbage in their file is named."""

import pytest

from trainer.protocol.files import UnreadableFile
from trainer.protocol.manifest import Unlocked
from trainer.protocol.permissions import FILE_NAME, give_permission, read_permissions


def test_without_a_file_nothing_is_permitted(tmp_path):
    assert read_permissions(tmp_path) == []


def test_a_permission_is_kept_once_and_in_order(tmp_path):
    assert give_permission(tmp_path, "data.max_length", 512, 1024, at="monday")
    assert give_permission(tmp_path, "model.chat_template", "own", "chatml", at="tuesday")

    assert not give_permission(tmp_path, "data.max_length", 512, 1024, at="wednesday")
    assert read_permissions(tmp_path) == [
        Unlocked(setting="data.max_length", was=512, becomes=1024, at="monday"),
        Unlocked(setting="model.chat_template", was="own", becomes="chatml", at="tuesday"),
    ]


@pytest.mark.parametrize("content", ["", "{", '{"setting": 1}', '[{"setting": "data.max_length"}]', "[1]"])
def test_a_file_that_holds_something_else_is_named(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content)

    with pytest.raises(UnreadableFile, match=FILE_NAME):
        read_permissions(tmp_path)
