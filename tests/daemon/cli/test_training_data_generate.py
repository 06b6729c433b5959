"""training_data generate, run as a person runs it."""

import json

import pytest

from daemon.cli.training_data import app
from daemon.data_tools.puzzles.space import NUM_SEEDS
from tests.daemon.cli.runner import runner_of
from tests.support import row, write_jsonl
from trainer.data.checks.file_check import check_file
from trainer.protocol.layout import Layout

run = runner_of(app)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def generate(layout, out, *options, skill="arithmetic", count=50, difficulty=2, seed=1):
    numbers = {"--count": count, "--difficulty": difficulty, "--seed": seed}
    arguments = [str(word) for pair in numbers.items() for word in pair]
    return run(layout, "generate", skill, *arguments, "--out", str(out), *options)


def questions(path):
    return {json.loads(line)["messages"][0]["content"] for line in path.read_bytes().splitlines()}


@pytest.mark.parametrize("skill", ["syllo", "arithmetic", "symbolic"])
def test_rows_can_be_trained_and_say_what_they_are(layout, tmp_path, skill):
    out = tmp_path / "puzzles.jsonl"

    result = generate(layout, out, skill=skill, difficulty=4, seed=9)

    assert result.stdout == f"wrote 50 rows to {out}\n"
    assert check_file(out, max_line_bytes=10_000).rows == 50
    for line in out.read_bytes().splitlines():
        found = json.loads(line)
        answer = found["messages"][1]["content"]
        assert found["metadata"] == {
            "skill": skill,
            "difficulty": 4,
            "source": "training_data generate",
            "seed": 9,
            "answer": answer,
        }


def test_the_same_options_give_the_same_file_and_another_seed_gives_nothing_of_it(layout, tmp_path):
    first, again, other = (tmp_path / f"{name}.jsonl" for name in ("first", "again", "other"))

    generate(layout, first)
    generate(layout, again)
    generate(layout, other, seed=2)

    assert first.read_bytes() == again.read_bytes()
    assert len(questions(first) | questions(other)) == 100


def test_a_larger_count_goes_on_where_a_smaller_one_ends(layout, tmp_path):
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"

    generate(layout, small, count=20)
    generate(layout, large, count=30)

    assert large.read_bytes().startswith(small.read_bytes())


def test_what_a_validation_file_asks_is_never_generated(layout, tmp_path):
    validation, training = tmp_path / "validation.jsonl", tmp_path / "training.jsonl"
    generate(layout, validation, count=20)
    asked = questions(validation)
    shouted = write_jsonl(tmp_path / "shouted.jsonl", [row(f" {text.upper()}\n", "?") for text in asked])

    generate(layout, training, "--without", str(shouted), count=80)

    assert len(questions(training)) == 80
    assert not questions(training) & asked


def test_a_validation_file_that_cannot_be_read_whole_stops_everything(layout, tmp_path):
    validation = write_jsonl(tmp_path / "validation.jsonl", [row(), "{"])
    out = tmp_path / "out.jsonl"

    result = generate(layout, out, "--without", str(validation))

    assert str(result.exception).startswith("validation.jsonl:2: column 2: ")
    assert str(result.exception).endswith("nothing was written")
    assert not out.exists()


def test_too_many_rows_are_refused_and_nothing_is_written(layout, tmp_path):
    out = tmp_path / "out.jsonl"

    result = generate(layout, out, skill="symbolic", difficulty=1, count=1_000_000)

    assert str(result.exception).startswith("symbolic at difficulty 1: seed 1 has 51,")
    assert "expected at least 1,000,000; give a smaller --count" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_by_force(layout, tmp_path):
    out = write_jsonl(tmp_path / "out.jsonl", [row()])
    before = out.read_bytes()

    refused = generate(layout, out)
    kept = out.read_bytes()
    forced = generate(layout, out, "--force")

    assert "exists; give another name, or --force" in str(refused.exception)
    assert kept == before
    assert forced.exit_code == 0
    assert len(questions(out)) == 50


@pytest.mark.parametrize("option", [{"seed": NUM_SEEDS}, {"difficulty": 6}, {"count": 0}, {"skill": "chess"}])
def test_a_number_out_of_range_is_refused(layout, tmp_path, option):
    assert generate(layout, tmp_path / "out.jsonl", **option).exit_code == 2


def test_a_program_gets_json(layout, tmp_path):
    out = tmp_path / "out.jsonl"

    found = json.loads(generate(layout, out, "--json").stdout)

    assert found == {"file": str(out), "rows": 50, "skill": "arithmetic", "difficulty": 2, "seed": 1}
