"""Split, dedupe, sample and merge: which rows end up where."""

import io
import json

import pytest

from daemon.data_tools import operations, reading
from daemon.data_tools.fingerprint import fingerprint, share_of
from daemon.data_tools.reading import BadInput, DataFile, LeftOut
from daemon.data_tools.seen import Seen
from tests.support import row, rows, write_jsonl
from trainer.config.schema import DataSettings
from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation


@pytest.fixture
def data_file(tmp_path):
    def make(content, name="chat.jsonl"):
        return DataFile(write_jsonl(tmp_path / name, content), DataSettings(max_line_bytes=2000))

    return make


def split(source, **options):
    training, validation = io.BytesIO(), io.BytesIO()
    operations.split(
        source, training, validation, LeftOut(), **({"fraction": 0.3, "by": "hash", "seed": 0} | options)
    )
    return training.getvalue().splitlines(), validation.getvalue().splitlines()


def test_a_row_lands_on_the_same_side_in_every_file(data_file):
    content = rows(200)

    _, validation = split(data_file(content))
    _, of_half = split(data_file(content[100:][::-1], "half.jsonl"))

    assert set(of_half) == {line for line in validation if json.loads(line) in content[100:]}
    assert 0 < len(of_half) < 100


def test_with_a_larger_share_validation_rows_stay_validation_rows(data_file):
    source = data_file(rows(200))

    _, few = split(source, fraction=0.1)
    _, many = split(source, fraction=0.2)

    assert set(few) < set(many)


@pytest.mark.parametrize("by", ["hash", "random"])
def test_a_split_is_the_same_for_the_same_seed_only_and_loses_nothing(data_file, by):
    source = data_file(rows(200))

    first, again, other = (split(source, by=by, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert sorted(json.loads(line)["messages"][0]["content"] for side in first for line in side) == sorted(
        item["messages"][0]["content"] for item in rows(200)
    )


def test_shares_are_spread_evenly():
    marks = [fingerprint(read_conversation(item)) for item in rows(2000)]

    assert sum(share_of(mark) < 0.25 for mark in marks) == pytest.approx(500, abs=60)


def test_no_share_is_as_large_as_one():
    assert share_of(b"\xff" * 16) < 1.0


def test_dedupe_keeps_the_first_of_rows_that_say_the_same(data_file):
    source = data_file([row("Why?", "So."), row("Who?", "I."), row(" why?\n", "SO."), row("Why?", "So!")])
    out = io.BytesIO()

    counts = operations.dedupe(source, out, LeftOut(), is_new=Seen().add)

    assert counts == (3, 1)
    answers = [json.loads(line)["messages"][1]["content"] for line in out.getvalue().splitlines()]
    assert answers == ["So.", "I.", "So!"]


@pytest.mark.parametrize(
    "other",
    [
        Conversation((Message("user", "a"), Message("assistant", "b", is_trained=False))),
        Conversation((Message("user", "a"), Message("assistant", "b", ({"function": {"name": "f"}},)))),
        Conversation((Message("user", "a"), Message("assistant", "b", extra={"thinking": "c"}))),
        Conversation((Message("user", "a"), Message("assistant", "b")), tools=({"name": "f"},)),
        Conversation((Message("user", "a"), Message("tool", "b"))),
        Conversation((Message("user", "a b"), Message("assistant", ""))),
    ],
)
def test_rows_that_teach_something_else_are_not_the_same(other):
    said = Conversation((Message("user", "a"), Message("assistant", "b")), metadata={"skill": "x"})

    assert fingerprint(said) != fingerprint(other)


def test_metadata_makes_no_row_another():
    turns = (Message("user", "a"), Message("assistant", "b"))

    assert fingerprint(Conversation(turns, metadata={"skill": "x"})) == fingerprint(Conversation(turns))


def test_a_sample_has_every_row_at_most_once_and_in_order(data_file):
    out = io.BytesIO()

    of = operations.sample(data_file(rows(50)), out, LeftOut(), count=10, seed=3)

    numbers = [int(json.loads(line)["messages"][0]["content"][4:-1]) for line in out.getvalue().splitlines()]
    assert of == 50
    assert len(numbers) == 10
    assert numbers == sorted(set(numbers))


def test_every_row_has_the_same_chance_to_be_drawn(data_file):
    source = data_file(rows(20))
    drawn = [0] * 20

    for seed in range(300):
        out = io.BytesIO()
        operations.sample(source, out, LeftOut(), count=5, seed=seed)
        for line in out.getvalue().splitlines():
            drawn[int(json.loads(line)["messages"][0]["content"][4:-1])] += 1

    assert sum(drawn) == 1500
    assert all(40 < times < 115 for times in drawn)


def test_a_sample_larger_than_the_file_is_refused(data_file):
    with pytest.raises(BadInput, match=r"chat\.jsonl has 3 rows, fewer than 4"):
        operations.sample(data_file(rows(3)), io.BytesIO(), LeftOut(), count=4, seed=0)


def test_rows_are_copied_byte_for_byte_with_one_line_end_each(data_file):
    first, second = (
        json.dumps(row("ä", "ö")).encode(),
        b' {"messages":' + json.dumps(row()["messages"]).encode() + b"}",
    )
    sources = [data_file([b"\xef\xbb\xbf" + first + b"\r", b""]), data_file([second], "b.jsonl")]
    sources[1].path.write_bytes(second)  # without a line end
    sources[1] = DataFile(sources[1].path, DataSettings())
    out = io.BytesIO()

    count = operations.merge(sources, out, LeftOut())

    assert (count, out.getvalue()) == (2, first + b"\n" + second + b"\n")


def test_rows_that_cannot_be_trained_are_left_out_and_named(data_file):
    bad = [{"messages": []}, "no json \x1b[31m", row("x" * 3000)]
    left_out = LeftOut()

    counts = operations.dedupe(data_file([row(), *bad]), io.BytesIO(), left_out, is_new=Seen().add)

    assert (counts, left_out.count) == ((1, 0), 3)
    assert left_out.first[0].startswith("chat.jsonl:2: messages is an empty list")
    assert left_out.first[1].startswith("chat.jsonl:3: column 1")
    assert left_out.first[2] == "chat.jsonl:4: the line has more than 2000 bytes (data.max_line_bytes)"


def test_of_many_bad_rows_the_first_are_named_and_all_are_counted(data_file):
    left_out = LeftOut()

    operations.dedupe(data_file(["{}"] * 30), io.BytesIO(), left_out, is_new=Seen().add)

    assert (left_out.count, len(left_out.first)) == (30, reading.LEFT_OUT_SHOWN)


def test_a_file_that_changes_while_it_is_read_is_given_up(data_file):
    source = data_file(rows(3))
    lines = source.lines()
    next(lines)
    source.path.write_bytes(source.path.read_bytes() + b"{}\n")

    with pytest.raises(BadInput, match="was changed while it was being read"):
        list(lines)


def test_progress_adds_up_to_the_size_of_the_file(data_file):
    moved = []
    path = data_file([*rows(5), ""]).path
    source = DataFile(path, DataSettings(), advance=moved.append)

    list(source.lines())

    assert sum(moved) == path.stat().st_size
