"""Tools read every format, packed or not, under the names that data.fields gives."""

import gzip
import io
import json

import pytest

from daemon.data_tools import operations
from daemon.data_tools.express import Format, Loss
from daemon.data_tools.reading import BadInput, DataFile, LeftOut
from daemon.data_tools.seen import Seen
from tests.support import every_case, row, rows, write_jsonl
from trainer.config.schema import DataSettings

ALPACA = {"instruction": "Reverse:", "input": "a b", "output": "b a"}
ANSWERED = {"question": "Why?", "answer": "So."}


def data_file(path, settings=None, **options):
    return DataFile(path, settings or DataSettings(), **options)


def test_rows_of_another_format_become_messages(tmp_path):
    source = data_file(write_jsonl(tmp_path / "a.jsonl", [ALPACA | {"skill": "reverse"}]))
    out = io.BytesIO()

    done = operations.convert([source], out, Format.MESSAGES, LeftOut())

    assert json.loads(out.getvalue()) == {
        "messages": [
            {"role": "user", "content": "Reverse:\n\na b"},
            {"role": "assistant", "content": "b a"},
        ],
        "metadata": {"skill": "reverse"},
    }
    assert not done.losses


def test_names_of_ones_own_are_understood_and_no_loss(tmp_path):
    settings = DataSettings(fields={"prompt": "frage", "completion": "antwort"})
    source = data_file(write_jsonl(tmp_path / "a.jsonl", [{"frage": "Why?", "antwort": "So."}]), settings)

    done = operations.convert([source], io.BytesIO(), Format.ALPACA, LeftOut())

    assert (done.rows, done.losses) == (1, {})


def test_only_keys_that_no_format_reads_are_counted_as_lost(tmp_path):
    chat, said = row(), {"prompt": "Why?", "completion": "So."}
    read = [
        *(chat | {key: "Be brief."} for key in ("system", "system_prompt")),
        *(chat | {key: [{"name": "add"}]} for key in ("tools", "functions")),
        *(said | {key: "Let us see."} for key in ("thinking", "reasoning_content")),
        said | {"context": "c", "history": [["a", "b"]], "metadata": {"a": 1}, "source": "s", "id": None},
    ]
    ignored = [chat | {"id": 7}, said | {"score": 0.5}, chat | {"thinking": "Let us see."}]

    with every_case() as cases:
        for value in [*read, *ignored]:
            with cases.case(json.dumps(value)):
                source = data_file(write_jsonl(tmp_path / "a.jsonl", [value]))
                losses = operations.convert([source], io.BytesIO(), Format.MESSAGES, LeftOut()).losses
                assert dict(losses) == ({Loss.OTHER_KEYS: 1} if value in ignored else {})


def test_files_of_two_formats_are_not_merged(tmp_path):
    sources = [
        data_file(write_jsonl(tmp_path / "a.jsonl", [row()])),
        data_file(write_jsonl(tmp_path / "b.jsonl", [ANSWERED])),
    ]

    reason = r"b\.jsonl:1 has format prompt_completion, but a\.jsonl:1 has messages"
    with pytest.raises(BadInput, match=reason):
        operations.merge(sources, io.BytesIO(), LeftOut())


@pytest.mark.parametrize("texts_come_first", [True, False])
def test_no_format_is_proposed_that_would_leave_out_every_text(tmp_path, texts_come_first):
    sources = [
        data_file(write_jsonl(tmp_path / "a.jsonl", [row()])),
        data_file(write_jsonl(tmp_path / "b.jsonl", [{"text": "So."}])),
    ]

    with pytest.raises(BadInput, match="a plain text has no turns, so train the files one after the other"):
        operations.merge(sources[:: -1 if texts_come_first else 1], io.BytesIO(), LeftOut())


def test_rows_of_two_formats_that_say_the_same_are_the_same(tmp_path):
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    source = data_file(write_jsonl(tmp_path / "a.jsonl", [ANSWERED, {"messages": messages}]))

    assert operations.dedupe(source, io.BytesIO(), LeftOut(), is_new=Seen().add) == (1, 1)


def test_a_packed_file_is_read_like_any_other(tmp_path):
    plain = write_jsonl(tmp_path / "chat.jsonl", rows(50))
    packed = tmp_path / "chat.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    moved = []
    out = io.BytesIO()

    operations.sample(data_file(packed, advance=moved.append), out, LeftOut(), count=50, seed=0)

    assert out.getvalue() == plain.read_bytes()
    assert sum(moved) == 2 * packed.stat().st_size


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path):
    packed = tmp_path / "chat.jsonl.gz"
    packed.write_bytes(gzip.compress(write_jsonl(tmp_path / "chat.jsonl", rows(50)).read_bytes())[:-20])

    with pytest.raises(BadInput, match=r"chat\.jsonl\.gz: the archive ends too early"):
        operations.dedupe(data_file(packed), io.BytesIO(), LeftOut(), is_new=Seen().add)
