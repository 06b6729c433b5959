"""Held-out files are compared as far as they can be read."""

import gzip
from contextlib import closing

import pytest

from tests.support import row, write_jsonl
from trainer.data.checks.leakage import held_out_rows
from trainer.data.checks.minhash import minhash_row
from trainer.data.formats import read_conversation

KNOWN = minhash_row(7, read_conversation(row()))


@pytest.mark.parametrize("cut_bytes, is_found", [(0, True), (4, False)])
def test_a_packed_file_is_compared_and_one_that_cannot_be_unpacked_is_left_to_others(
    tmp_path, cut_bytes, is_found
):
    packed = gzip.compress(write_jsonl(tmp_path / "plain.jsonl", [row()]).read_bytes())
    file = tmp_path / "held.jsonl.gz"
    file.write_bytes(packed[: len(packed) - cut_bytes])

    with closing(held_out_rows({"validation.file": file}, max_line_bytes=1 << 20, scratch=tmp_path)) as table:
        found = table.find(KNOWN)

    assert (found is not None) == is_found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held.jsonl.gz", "plain.jsonl"]
