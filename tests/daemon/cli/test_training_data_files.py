"""training_data convert, split, dedupe, sample and merge, run as a person runs them."""

import json
import os
import subprocess
import sys

import pytest

from daemon.cli import data_files
from daemon.cli.training_data import app
from tests.daemon.cli.runner import runner_of
from tests.support import row, rows, write_jsonl
from trainer.protocol.layout import Layout

run = runner_of(app)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.fixture
def chat(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", rows(100))


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_convert_tells_of_losses_and_of_rows_left_out(layout, tmp_path):
    turns = row()["messages"]
    content = [{"messages": turns, "id": 7}, {"messages": turns * 2}, {"messages": [turns[1]]}, {}]
    file = write_jsonl(tmp_path / "chat.jsonl", content)
    before = file.read_bytes()
    out = tmp_path / "out.jsonl"

    result = run(layout, "convert", str(file), str(out), "--to", "prompt-completion")

    *told, last = result.stdout.splitlines()
    assert told == [
        f"wrote 2 rows to {out}",
        "lost in 1 row: keys of rows that no format knows",
        "lost in 1 row: learning earlier answers: they become context",
        "left out chat.jsonl:3: the assistant speaks first; expected a prompt before the completion",
    ]
    assert last.startswith("left out chat.jsonl:4: found no keys")
    assert lines_of(out)[0] == {"prompt": "Reverse: a b", "completion": "b a"}
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["prompt-completion", "prompt_completion"])
def test_a_format_has_the_name_that_the_queue_shows_too(layout, chat, tmp_path, name):
    converted, merged = tmp_path / "converted.jsonl", tmp_path / "merged.jsonl"

    run(layout, "convert", str(chat), str(converted), "--to", name)
    run(layout, "merge", str(chat), str(merged), "--to", name)

    assert set(lines_of(converted)[0]) >= {"prompt", "completion"}
    assert merged.read_bytes() == converted.read_bytes()


def test_an_unknown_format_is_named_with_those_there_are(layout, chat, tmp_path):
    result = run(layout, "convert", str(chat), str(tmp_path / "out.jsonl"), "--to", "nope")

    assert '"nope" is not a format; expected one of messages, sharegpt, alpaca, ' in result.stderr


def test_a_program_gets_the_losses_as_json(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", [{"messages": row()["messages"], "id": 7}, "[]"])

    out = run(layout, "convert", str(file), str(tmp_path / "out.jsonl"), "--to", "alpaca", "--json").stdout

    told = json.loads(out)
    [left_out] = told.pop("first_left_out")
    assert left_out.startswith("chat.jsonl:2: found an empty list")
    assert told == {
        "file": str(tmp_path / "out.jsonl"),
        "rows": 1,
        "losses": {"keys of rows that no format knows": 1},
        "left_out": 1,
    }


def test_split_writes_both_parts_beside_each_other(layout, chat, tmp_path):
    into = tmp_path / "parts"
    into.mkdir()

    out = run(layout, "split", str(chat), "--validation", "0.2", "--into", str(into), "--json").stdout

    told = json.loads(out)
    training, validation = into / "chat.train.jsonl", into / "chat.validation.jsonl"
    assert told["training"] == {"file": str(training), "rows": len(lines_of(training))}
    assert told["validation"] == {"file": str(validation), "rows": len(lines_of(validation))}
    assert len(lines_of(training)) + len(lines_of(validation)) == 100


def test_a_percentage_is_a_share(layout, chat, tmp_path):
    for share, into in (("0.2", tmp_path / "share"), ("20%", tmp_path / "percentage")):
        into.mkdir()
        run(layout, "split", str(chat), "--validation", share, "--into", str(into))

    files = [sorted(into.iterdir()) for into in (tmp_path / "share", tmp_path / "percentage")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert len(files[0]) == 2


@pytest.mark.parametrize("share", ["0", "1", "2", "nan", "-0.1", "0%", "100%", "a tenth", "%", ""])
def test_what_is_no_share_is_refused(layout, chat, share):
    result = run(layout, "split", str(chat), f"--validation={share}", "--into", str(chat.parent))

    assert str(result.exception) == (
        f'--validation is "{share}"; expected a share between 0 and 1, such as 0.02 or 2%'
    )


def test_a_side_without_rows_is_refused_and_nothing_is_written(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(2))

    result = run(layout, "split", str(file), "--validation", "0.000001", "--into", str(tmp_path))

    assert "none of the 2 rows would go to validation" in str(result.exception)
    assert os.listdir(tmp_path) == ["chat.jsonl"]


def test_a_single_row_cannot_be_split_whatever_the_share(layout, tmp_path):
    file = write_jsonl(tmp_path / "one.jsonl", rows(1))

    result = run(layout, "split", str(file), "--validation", "0.5", "--into", str(tmp_path))

    assert str(result.exception).startswith("there is only one row; expected at least two to split")
    assert list(tmp_path.glob("*.train.jsonl")) == []


def test_a_similarity_without_near_is_refused_rather_than_ignored(layout, chat):
    result = run(layout, "dedupe", str(chat), "--dry-run", "--similarity", "0.9")

    assert str(result.exception) == "--similarity is for --near; give both, or neither"


def test_dedupe_counts_what_it_dropped(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", [row(), row(), row("Else?")])

    result = run(layout, "dedupe", str(file), str(tmp_path / "once.jsonl"))

    assert result.stdout == f"wrote 2 rows to {tmp_path / 'once.jsonl'}; duplicates dropped: 1\n"


NAMES = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(100)]
QUESTION = " ".join(NAMES)
EDITED = " ".join([*NAMES[:50], "another", *NAMES[51:]])


def test_dedupe_drops_near_copies_only_if_asked(layout, tmp_path):
    content = [
        row(QUESTION, "Rome."),
        row(EDITED, "Rome"),
        row(EDITED, "Paris."),
        row(f"7 {QUESTION}", "Rome."),
    ]
    file = write_jsonl(tmp_path / "chat.jsonl", content)

    exact = run(layout, "dedupe", str(file), str(tmp_path / "exact.jsonl"), "--json").stdout
    near = run(layout, "dedupe", str(file), str(tmp_path / "near.jsonl"), "--near", "--json").stdout

    assert (json.loads(exact)["dropped"], json.loads(near)["dropped"]) == (0, 1)
    assert lines_of(tmp_path / "near.jsonl") == [content[0], *content[2:]]


def test_sums_of_one_pattern_are_not_near(layout, tmp_path):
    question = "A shop has {} apples in one box and {} pears in another box. How many pieces is that?"
    sums = [row(question.format(a, b), str(a + b)) for a in range(12, 32) for b in range(12, 32)]
    file = write_jsonl(tmp_path / "sums.jsonl", sums)

    told = run(layout, "dedupe", str(file), "--near", "--dry-run", "--json").stdout

    assert json.loads(told)["dropped"] == 0


def test_a_dry_run_shows_the_first_pairs_and_writes_nothing(layout, tmp_path):
    content = [row(QUESTION, f"City {'x' * i}") for i in range(12)]
    content += [row(EDITED, f"City {'x' * i}") for i in range(12)]
    file = write_jsonl(tmp_path / "chat.jsonl", content)

    out = run(layout, "dedupe", str(file), "--near", "--dry-run", "--similarity", "0.85").stdout

    first, text, other, *_, last = out.splitlines()
    assert first.startswith("chat.jsonl:13 is nearly chat.jsonl:1 (similarity 0.9")
    assert text.startswith("    wordaa wordab")
    assert other.startswith("    wordaa wordab")
    assert out.count(" is nearly ") == 10
    assert last == (
        "would keep 12 rows; exact and near duplicates (similarity 0.85 or more) that would be dropped: 12"
    )
    assert os.listdir(tmp_path) == ["chat.jsonl"]


@pytest.mark.parametrize("options", [[], ["out.jsonl", "--dry-run"]])
def test_dedupe_needs_a_place_to_write_to_or_a_dry_run(layout, chat, options):
    result = run(layout, "dedupe", str(chat), *options)

    assert "give either OUT, the name of a new file, or --dry-run" in str(result.exception)


def test_sample_draws_the_same_rows_for_the_same_seed(layout, chat, tmp_path):
    outs = [tmp_path / f"{name}.jsonl" for name in "abc"]

    for out, seed in zip(outs, ("1", "1", "2"), strict=True):
        run(layout, "sample", str(chat), str(out), "--count", "10", "--seed", seed)

    first, again, other = (lines_of(out) for out in outs)
    assert len(first) == 10
    assert first == again
    assert first != other


def test_merge_keeps_the_order_of_files_and_rows(layout, tmp_path):
    files = [write_jsonl(tmp_path / f"{i}.jsonl", rows(3, start=3 * i)) for i in range(2)]

    result = run(layout, "merge", *map(str, files), str(tmp_path / "all.jsonl"))

    assert result.stdout == f"wrote 6 rows to {tmp_path / 'all.jsonl'}\n"
    assert lines_of(tmp_path / "all.jsonl") == rows(6)


def test_merge_converts_if_asked(layout, chat, tmp_path):
    run(layout, "merge", str(chat), str(chat), str(tmp_path / "all.jsonl"), "--to", "sharegpt")

    merged = lines_of(tmp_path / "all.jsonl")
    assert len(merged) == 200
    assert all(item.keys() == {"conversations"} for item in merged)


def test_merge_needs_something_to_read(layout, chat):
    assert "expected files to read" in str(run(layout, "merge", str(chat)).exception)


def test_a_file_without_a_good_row_writes_nothing(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", ["{}"])

    result = run(layout, "dedupe", str(file), str(tmp_path / "out.jsonl"))

    assert "there are no rows to write; chat.jsonl:1: found no keys" in str(result.exception)
    assert os.listdir(tmp_path) == ["chat.jsonl"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "IN", "OUT", "--to", "messages"),
        ("split", "IN", "--validation", "0.5", "--into", "."),
        ("dedupe", "IN", "OUT"),
        ("sample", "IN", "OUT", "--count", "1"),
        ("merge", "IN", "IN", "OUT"),
    ],
)
def test_an_existing_file_is_replaced_only_by_force(layout, chat, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    taken = ["out.jsonl", "chat.train.jsonl", "chat.validation.jsonl"]
    for name in taken:
        (tmp_path / name).write_text("old")
    command = [{"IN": "chat.jsonl", "OUT": "out.jsonl"}.get(part, part) for part in arguments]

    refused = run(layout, *command)
    contents = {(tmp_path / name).read_text() for name in taken}
    forced = run(layout, *command, "--force")

    way_out = "give another folder with --into" if arguments[0] == "split" else "give another name"
    assert f"exists; {way_out}, or --force to replace it" in str(refused.exception)
    assert contents == {"old"}
    assert forced.exit_code == 0
    assert any((tmp_path / name).read_text() != "old" for name in taken)


def test_rows_are_read_by_the_settings_of_the_working_directory(layout, tmp_path):
    layout.config_file.write_text('{"data": {"max_line_bytes": 1024}}')
    file = write_jsonl(tmp_path / "chat.jsonl", [row(), row("x" * 2000)])

    result = run(layout, "dedupe", str(file), str(tmp_path / "out.jsonl"))

    assert "left out chat.jsonl:2: the line has more than 1024 bytes" in result.stdout


def test_a_folder_that_is_not_there_has_no_settings_to_read_by(chat, tmp_path):
    result = run(Layout(tmp_path / "typo"), "sample", str(chat), str(tmp_path / "out.jsonl"), "--count", "1")

    assert "typo is not a folder; correct TRAINING_BASE_DIR" in str(result.exception)


def test_bad_settings_are_named_before_anything_is_read(layout, chat, tmp_path):
    layout.config_file.write_text('{"data": {"max_line_byte": 1024}}')

    result = run(layout, "dedupe", str(chat), str(tmp_path / "out.jsonl"))

    assert 'did you mean "max_line_bytes"?' in str(result.exception)
    assert result.exception.exit_code == 78


def test_a_pipe_is_refused_at_once(layout, tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")

    result = run(layout, "dedupe", str(tmp_path / "pipe.jsonl"), str(tmp_path / "out.jsonl"))

    assert "pipe.jsonl is a folder, a pipe or a device; expected a file" in str(result.exception)


def test_the_process_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, "-m", "daemon.cli.training_data", "dedupe", "no\x1b.jsonl", "out.jsonl"]

    result = subprocess.run(
        [*command, "--base-dir", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: no\\x1b.jsonl is not a file\n"


@pytest.mark.parametrize("is_shown, shown", [(True, "100%"), (False, "")])
def test_how_far_it_is_goes_to_standard_error(capfd, monkeypatch, is_shown, shown):
    monkeypatch.setattr(data_files, "PROGRESS_BYTES", 40)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal

    with data_files.byte_progress(100, is_shown=is_shown) as advance:
        for _ in range(4):
            advance(25)

    output = capfd.readouterr()
    assert shown in output.err
    assert bool(output.err) == is_shown
    assert output.out == ""


# ---- tables


def test_a_table_becomes_rows_with_the_same_keys(layout, tmp_path):
    (tmp_path / "table.csv").write_text("prompt,completion,id\n1 + 1?,2,007\n")

    result = run(layout, "convert", str(tmp_path / "table.csv"), str(tmp_path / "out.jsonl"))

    assert result.stdout == f"wrote 1 row to {tmp_path / 'out.jsonl'}\n"
    assert lines_of(tmp_path / "out.jsonl") == [{"prompt": "1 + 1?", "completion": "2", "id": "007"}]


def test_a_table_becomes_another_format_at_once(layout, tmp_path):
    (tmp_path / "table.csv").write_text('prompt,completion\n1 + 1?,2\n"a\nb",\n')

    out = tmp_path / "out.jsonl"
    result = run(layout, "convert", str(tmp_path / "table.csv"), str(out), "--to", "messages")

    assert "left out table.csv:3: " in result.stdout
    assert [item["messages"][1]["content"] for item in lines_of(out)] == ["2"]


@pytest.mark.parametrize("content", ["prompt,completion\n", "prompt,completion"])
def test_a_table_without_rows_writes_nothing(layout, tmp_path, content):
    (tmp_path / "table.csv").write_text(content)

    result = run(layout, "convert", str(tmp_path / "table.csv"), str(tmp_path / "out.jsonl"))

    assert "there are no rows to write; expected at least one" in str(result.exception)
    assert os.listdir(tmp_path) == ["table.csv"]


def test_binary_garbage_writes_nothing(layout, tmp_path):
    (tmp_path / "garbage.bin").write_bytes(bytes(range(128, 256)) * 9)

    result = run(layout, "convert", str(tmp_path / "garbage.bin"), str(tmp_path / "out.jsonl"))

    assert "garbage.bin:1: byte 1 is 0x80; expected UTF-8" in str(result.exception)
    assert os.listdir(tmp_path) == ["garbage.bin"]
