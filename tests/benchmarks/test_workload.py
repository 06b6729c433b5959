import json
import statistics

from scripts.benchmarks.workload import Workload, make_rows, write_rows
from trainer.data.formats import read_conversation


def words_of(row):
    return sum(len(message["content"].split()) for message in row["messages"])


def test_equal_seeds_give_equal_rows_and_others_do_not():
    first, again = (list(make_rows(20, Workload(seed=7))) for _ in range(2))

    other = list(make_rows(20, Workload(seed=8)))

    assert first == again
    assert first != other


def test_rows_are_skewed_and_a_fifth_has_several_turns():
    rows = list(make_rows(3000))

    lengths = [words_of(row) for row in rows]
    several = sum(len(row["messages"]) > 2 for row in rows) / len(rows)

    assert statistics.mean(lengths) > 1.2 * statistics.median(lengths)
    assert max(lengths) > 8 * statistics.median(lengths)
    assert 0.17 < several < 0.23


def test_every_written_row_can_be_trained(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 50)

    conversations = [read_conversation(json.loads(line)) for line in path.read_text().splitlines()]

    assert len(conversations) == 50
