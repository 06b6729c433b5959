"""A small table that would fill a disk or the memory is refused, and what is written so far is gone."""

import os
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet

from daemon.data_tools.operations import copy_rows
from daemon.data_tools.reading import BadInput, DataFile, LeftOut
from daemon.data_tools.tables.numbered_rows import BadTable
from daemon.data_tools.tables.size_limit import ALLOWED_WITHOUT_RATIO, SizeLimit
from daemon.data_tools.tables.weight import weight
from daemon.data_tools.writing import new_file
from tests.daemon.data_tools.tables.table_files import write_arrow, write_parquet
from tests.support import every_case
from trainer.config.schema import DataSettings

pytestmark = pytest.mark.long

MIB = 1 << 20
TEXT = "x" * 1000
STRING = pyarrow.string()


def write_batch(path, columns):
    """Write one batch as it is: a table would unpack some of its columns."""
    batch = pyarrow.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    with pyarrow.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)
    return path


def repeated(value, times):
    return pyarrow.RunEndEncodedArray.from_arrays([times], [value])


def dictionary(value, times):
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * times, pyarrow.int8()), [value])


def test_a_small_table_that_becomes_too_much_is_refused_and_leaves_nothing(tmp_path):
    tables = {
        "nulls.arrow": {"a": pyarrow.nulls(10**8)},
        "runs.arrow": {"a": repeated(TEXT, 10**9)},
        "dictionary.arrow": {"a": dictionary(TEXT, 10_000)},
    }
    files = [write_batch(tmp_path / name, columns) for name, columns in tables.items()]
    files.append(write_parquet(tmp_path / "a.parquet", {"a": [TEXT] * 10_000}))
    header = tmp_path / "header.csv"
    header.write_text(f"a{TEXT},b\n" + ",\n" * 10_000)
    settings = DataSettings(max_unpacked_bytes=MIB)

    def convert(file):
        with new_file(tmp_path / "out.jsonl", replace=False) as out:
            copy_rows(DataFile(file, settings), out, LeftOut())

    with every_case() as cases:
        for file in [*files, header]:
            with cases.case(file.name):
                with pytest.raises(BadInput) as error:
                    convert(file)
                assert str(error.value) == (
                    f"{file.name}: the table becomes more than {MIB} bytes of JSON Lines "
                    "(data.max_unpacked_bytes); split it, or raise the limit"
                )
    assert sorted(os.listdir(tmp_path)) == sorted(file.name for file in [*files, header])


def test_a_table_of_which_about_its_own_size_becomes_may_be_larger_than_the_limit():
    size = SizeLimit(max_bytes=MIB, file_bytes=10 * MIB)

    size.add(40 * MIB)

    with pytest.raises(BadTable, match="split it, or raise the limit"):
        size.add(1)


def test_a_table_becomes_two_hundred_times_its_size_at_most_beyond_some_that_is_always_allowed():
    size = SizeLimit(max_bytes=1 << 40, file_bytes=MIB)

    size.add(ALLOWED_WITHOUT_RATIO + 200 * MIB)

    with pytest.raises(BadTable, match="more than 200 times its size"):
        size.add(1)


@pytest.mark.parametrize("kind", ["runs.arrow", "dictionary.arrow", "a.parquet"])
def test_memory_stays_flat_while_long_texts_repeat_themselves(tmp_path, kind):
    text, path = "x" * (4 * MIB), tmp_path / kind
    columns = {"a": repeated(text, 512) if kind.startswith("runs") else dictionary(text, 512)}
    if kind == "a.parquet":
        parquet.write_table(pyarrow.table(columns), path)
    else:
        write_batch(path, columns)
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()

    lines = DataFile(path, DataSettings()).lines()
    sizes = {len(line.content) for line, _ in zip(lines, range(50), strict=False)}

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == {4 * MIB + len('{"a": ""}\n')}
    assert peak_bytes < 100 * MIB
    assert pyarrow.total_allocated_bytes() - before < 100 * MIB


def test_a_single_row_that_is_far_too_long_is_refused_before_it_is_made(tmp_path):
    long = pyarrow.ListArray.from_arrays([0, 1, 10**8], pyarrow.nulls(10**8))
    path = write_batch(tmp_path / "a.arrow", {"a": long})
    tracemalloc.start()

    with pytest.raises(BadInput, match=r"a\.arrow: row 2 has more than 8388608 bytes \(data\.max_line_bytes"):
        list(DataFile(path, DataSettings()).lines())

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100 * MIB


def test_texts_of_parquet_are_the_same_wherever_they_stand(tmp_path):
    rows = [{"s": f"text {number % 7}", "l": ["a", None], "o": {"t": "b"}} for number in range(5000)]
    maps = pyarrow.array([[("key", "value")]] * len(rows), pyarrow.map_(STRING, STRING))
    table = pyarrow.Table.from_pylist(rows).append_column("m", maps)
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1500)
    write_arrow(tmp_path / "a.arrow", {name: table[name] for name in table.column_names})

    found, expected = (
        [line.content for line in DataFile(tmp_path / name, DataSettings()).lines()]
        for name in ("a.parquet", "a.arrow")
    )

    assert found == expected
    assert len(found) == len(rows)


def test_every_layout_is_weighed_by_what_python_makes_of_it():
    texts = pyarrow.array([TEXT] * 10)
    structs = pyarrow.array([{"a": TEXT}, {"a": ""}])
    offsets, sizes = [0] * 5, [10] * 5
    cases = {
        "text": (texts.slice(3, 2), 2),
        "large text": (pyarrow.array([TEXT, None], pyarrow.large_string()), 1),
        "view": (texts.cast(pyarrow.string_view()).slice(2, 3), 3),
        "dictionary": (texts.dictionary_encode().slice(1, 4), 4),
        "dictionary of objects": (pyarrow.DictionaryArray.from_arrays([0, 0, 1, None], structs), 2),
        "runs": (pyarrow.RunEndEncodedArray.from_arrays([3, 10], [TEXT, "y"]).slice(1, 4), 2),
        "object": (pyarrow.array([{"a": TEXT}] * 5).slice(1, 2), 2),
        "list": (pyarrow.array([[TEXT], [TEXT, TEXT], None]).slice(1, 2), 2),
        "list of one length": (pyarrow.FixedSizeListArray.from_arrays(texts, 2).slice(1, 1), 2),
        "list of views": (pyarrow.ListViewArray.from_arrays(offsets, sizes, texts).slice(1, 2), 20),
        "map": (pyarrow.array([[("a", TEXT)], []], pyarrow.map_(STRING, STRING)).slice(0, 1), 1),
        "extension": (pyarrow.ExtensionArray.from_storage(pyarrow.json_(), texts), 10),
        "union": (pyarrow.UnionArray.from_sparse(pyarrow.array([0], pyarrow.int8()), [texts[:1]]), 1),
        "nothing": (texts.slice(0, 0).dictionary_encode(), 0),
    }

    with every_case() as tried:
        for name, (array, num_texts) in cases.items():
            with tried.case(name):
                assert num_texts * 1000 <= weight(pyarrow, array) < num_texts * 1000 + 1000
