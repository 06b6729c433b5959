"""New files: whole or not at all, and never in place of another."""

import os

import pytest

from daemon.data_tools.writing import BadOutput, new_file


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new.jsonl"

    with new_file(path, replace=False) as file:
        file.write(b"{}\n")
        was_there = path.exists()

    assert not was_there
    assert path.read_bytes() == b"{}\n"
    assert os.listdir(tmp_path) == ["new.jsonl"]


@pytest.mark.parametrize("replace", [False, True])
def test_nothing_is_left_of_one_that_was_given_up(tmp_path, replace):
    def give_up():
        with new_file(tmp_path / "new.jsonl", replace=replace) as file:
            file.write(b"{}\n")
            raise KeyError

    with pytest.raises(KeyError):
        give_up()

    assert os.listdir(tmp_path) == []


def test_a_file_is_replaced_only_on_demand(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_bytes(b"old")

    with (
        pytest.raises(BadOutput, match="exists; give another name, or --force"),
        new_file(path, replace=False),
    ):
        pass
    was = path.read_bytes()
    with new_file(path, replace=True) as file:
        file.write(b"new")

    assert (was, path.read_bytes()) == (b"old", b"new")


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "new.jsonl"

    def be_too_late():
        with new_file(path, replace=False):
            path.write_bytes(b"theirs")

    with pytest.raises(BadOutput, match="just been created"):
        be_too_late()

    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["new.jsonl"]


@pytest.mark.parametrize("replace", [False, True])
def test_the_input_is_never_replaced_under_another_name_either(tmp_path, replace):
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"precious")
    link = tmp_path / "out.jsonl"
    link.symlink_to(source)

    with pytest.raises(BadOutput, match="is the input"), new_file(link, replace=replace, inputs=[source]):
        pass

    assert source.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "name, reason",
    [("chat.txt", "ends in .jsonl"), ("no/chat.jsonl", "folder does not exist"), ("d.jsonl", "a folder")],
)
def test_a_place_where_no_data_file_can_be_is_refused(tmp_path, name, reason):
    (tmp_path / "d.jsonl").mkdir()

    with pytest.raises(BadOutput, match=reason), new_file(tmp_path / name, replace=True):
        pass
