import pytest

from scripts.benchmarks.beside import ROUND, SIDES, table
from scripts.benchmarks.comparison import per_second
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.engine_run import Run
from scripts.benchmarks.many_files import gaps
from scripts.benchmarks.overhead import overhead
from scripts.benchmarks.report import filled
from scripts.benchmarks.results import median, percentile
from scripts.benchmarks.shapes import SHAPES, Shape
from scripts.benchmarks.turns import Outcome

SMALL = Shape(hidden=2, layers=3, heads=1, kv_heads=1, head_dim=2, intermediate=5, vocabulary=7)
TASK = Task(model="", file="", folder="", rows_per_step=2, first_steps=1, turns=2, steps_per_turn=2)


def test_operations_count_body_head_and_attention():
    body, head = 3 * (2 * (2 + 4) + 2 * 2 + 3 * 2 * 5), 2 * 7

    flops = SMALL.training_flops([4, 2], supervised=5, is_causal=False)

    assert flops == 6 * (body * 6 + head * 5) + 12 * 3 * 1 * 2 * (16 + 4)


def test_a_causal_model_needs_half_of_the_attention():
    whole, causal, without = (
        SMALL.training_flops([length] * count, supervised=0, is_causal=is_causal)
        for length, count, is_causal in ((8, 1, False), (8, 1, True), (0, 8, True))
    )

    assert without == 0
    assert whole - causal == 12 * 3 * 2 * 64 / 2


def test_the_shape_of_qwen3_has_its_596_million_weights_in_products():
    shape = SHAPES["Qwen3-0.6B"]

    assert shape.body_weights + shape.head_weights == pytest.approx(596e6, rel=0.001)


def test_a_gap_is_the_time_between_ends_less_the_steps():
    assert gaps([10.0, 13.0, 20.0], [9.0, 2.5, 6.0]) == [0.5, 1.0]


def test_tokens_of_the_first_steps_and_of_the_last_do_not_count():
    outcome = Outcome(turn_s=[2.0, 4.0], facts={"tokens": [999, 10, 20, 30, 50, 999]})

    assert per_second(outcome, TASK, "tokens") == median([30 / 2, 80 / 4])


def test_overhead_is_what_arithmetic_leaves_of_the_time():
    seconds = {"arithmetic_s": [9.0, 1.0, 2.0, 1.5, 1.5, 9.0], "clipping_s": [9.0, *[0.25] * 4, 9.0]}
    outcome = Outcome(turn_s=[4.0, 4.0], facts=seconds)

    assert overhead(outcome, TASK, "arithmetic_s") == 0.25
    assert overhead(outcome, TASK, "arithmetic_s", "clipping_s") == 0.125


def test_a_contender_that_died_was_not_measured():
    outcome = Outcome(why_not="killed")

    assert per_second(outcome, TASK, "tokens") is None
    assert overhead(outcome, TASK, "arithmetic_s") is None


def test_the_speed_of_a_run_is_counted_from_one_begin_to_another():
    run = Run(tokens=[100, 10, 30, 500], step_began_at=[0.0, 8.0, 10.0, 12.0])

    assert run.tokens_per_s(skip=1) == 10.0


@pytest.mark.parametrize("percent, expected", [(50, 2), (75, 3), (76, 4), (100, 4)])
def test_a_percentile_is_one_of_the_values(percent, expected):
    assert percentile([4, 1, 3, 2], percent) == expected


def test_there_is_no_median_of_nothing():
    assert (median([]), percentile([], 50)) == (None, None)


def test_the_document_shows_results_and_says_what_was_not_measured():
    document = "a\n<!-- results: one -->\nold\n<!-- end -->\nb\n<!-- results: two -->\n<!-- end -->\n"
    result = {
        "measured_at": "2026-01-01T00:00:00+00:00",
        "command": "python -m scripts.benchmarks.one",
        "quick": False,
        "machine": {"gpu": None, "cores": 2, "processor": "some", "memory_bytes": 2**30},
        "versions": {"python": "3.12"},
        "tables": [{"title": "Speed", "columns": ["", "n"], "rows": [["ours", 12345], ["theirs", None]]}],
    }

    text = filled(document, {"one": result})

    assert "| ours | 12,345 |\n| theirs | not measured |" in text
    assert "old" not in text
    assert text.endswith("<!-- results: two -->\n\nnot measured\n\n<!-- end -->\n")
    assert filled(text, {"one": result}) == text


def test_what_is_kept_beside_others_is_a_part_of_the_median_alone():
    rates = {(side, number): [90.0, 100.0 / (1 + number), 1.0] for side in SIDES for number in ROUND}
    rates["spinning", 0] = [1000.0, 200.0, 100.0]

    spinning, not_spinning = table(rates, "tiny").rows

    assert spinning == ["spinning", 200.0, 50.0, pytest.approx(33.3, abs=0.1), "25%", "17%"]
    assert not_spinning[-2:] == ["56%", "37%"]
