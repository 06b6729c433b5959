import json

from scripts.benchmarks.parts import measured_in_parts


def test_a_run_that_was_kept_is_not_measured_again(tmp_path):
    (tmp_path / "fast-1.json").write_text("7")

    found = list(measured_in_parts(len, [("fast", 1), ("slow", 2, 3)], folder=tmp_path, processes=1))

    assert found == [7, 3]
    assert json.loads((tmp_path / "slow-2-3.json").read_text()) == 3
