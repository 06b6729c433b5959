"""What a shell is offered is quick to find, exact, and harmless whatever files are called."""

import os
import subprocess
import sys

import pytest

from daemon.client.offered_names import all_names, ended_names, retryable_names, waiting_names
from trainer.protocol.job import Outcome, Priority

EVIL = [
    b"my file.jsonl",
    b"$(touch x).jsonl",
    b"`touch x`.jsonl",
    b"a;b.jsonl",
    b'a"b.jsonl',
    b"a'b.jsonl",
    b"a\\b.jsonl",
    b"a\nb.jsonl",
    b"\x1b]0;owned\x07.jsonl",
    b"\xff.jsonl",
    b"-a.jsonl",
    b"~a.jsonl",
    b"*.jsonl",
    b"a:b.jsonl",
    b"{a,b}.jsonl",
    "a\N{RIGHT-TO-LEFT OVERRIDE}b.jsonl".encode(),
]


@pytest.fixture
def places(layout):
    """Have a file in every folder, named after it."""
    folders = ["high", "normal", "low", "processing", "recently_completed", "failed", "skipped"]
    folders.append(".trash/failed-20260101-000000")
    for folder in folders:
        (layout.queue / folder).mkdir(parents=True, exist_ok=True)
        (layout.queue / folder / f"in_{folder.rpartition('/')[2]}.jsonl").touch()
    (layout.failed / "in_failed.jsonl.reason.json").touch()
    return layout


def test_each_command_is_offered_what_it_can_do_something_with(places):
    assert waiting_names(places, "") == ["in_high.jsonl", "in_low.jsonl", "in_normal.jsonl"]
    assert retryable_names(places, "") == [
        "in_failed-20260101-000000.jsonl",
        "in_failed.jsonl",
        "in_skipped.jsonl",
    ]
    assert ended_names(places, "") == ["in_failed.jsonl", "in_skipped.jsonl"]
    assert len(all_names(places, "")) == 8


def test_only_what_begins_as_it_was_typed_is_offered(places):
    assert waiting_names(places, "in_l") == ["in_low.jsonl"]
    assert waiting_names(places, "low") == []
    assert all_names(places, "failed-20260101-000000/") == [
        "failed-20260101-000000/in_failed-20260101-000000.jsonl"
    ]
    assert waiting_names(places, "low/in") == ["low/in_low.jsonl"]
    assert waiting_names(places, "../../") == []


def test_a_name_of_two_files_is_offered_once(layout):
    for folder in ("high", "low"):
        (layout.queue / folder / "a.jsonl").touch()

    assert waiting_names(layout, "") == ["a.jsonl"]
    assert waiting_names(layout, "low/") == ["low/a.jsonl"]


def test_names_that_mean_something_to_a_shell_are_left_out(layout):
    folder = os.fsencode(layout.finished(Outcome.SKIPPED))
    for name in [*EVIL, "größe_2.1+b,c.jsonl".encode()]:
        os.close(os.open(folder + b"/" + name, os.O_CREAT))

    assert retryable_names(layout, "") == ["größe_2.1+b,c.jsonl"]


def test_where_a_folder_is_missing_nothing_is_offered(layout):
    os.rmdir(layout.waiting(Priority.LOW))
    os.rmdir(layout.finished(Outcome.FAILED))

    assert (waiting_names(layout, ""), retryable_names(layout, "")) == ([], [])


def completed_in_a_shell(layout, program, typed, *, shell="bash", base_dir=None):
    """Return what a shell is told when a command line is half typed."""
    words = typed.split(" ")
    variable = f"_{program.upper()}_COMPLETE"
    environment = os.environ | {
        "TRAINING_BASE_DIR": str(base_dir or layout.base),
        variable: f"complete_{shell}",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": typed,
    }
    code = f"import sys; sys.argv = [{program!r}]; from daemon.cli.{program} import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("training_queue set-priority in_l", ["in_low.jsonl"]),
        ("training_queue remove in_h", ["in_high.jsonl"]),
        ("training_queue retry in_s", ["in_skipped.jsonl"]),
        ("training_queue show in_r", ["in_recently_completed.jsonl"]),
        ("training_queue set-priority in_low.jsonl h", ["high"]),
    ],
)
def test_the_commands_offer_names_in_a_shell(places, typed, offered):
    assert completed_in_a_shell(places, "training_queue", typed) == offered


def test_so_does_the_command_for_all_with_the_folder_that_was_typed(places, tmp_path):
    typed = f"training queue --base-dir {places.base} remove in_h"

    assert completed_in_a_shell(places, "training", typed, base_dir=tmp_path) == ["in_high.jsonl"]


def test_a_shell_that_evaluates_what_it_is_told_is_told_nothing_odd(places):
    for name in EVIL:
        os.close(os.open(os.fsencode(places.failed) + b"/" + name, os.O_CREAT))

    told = completed_in_a_shell(places, "training_queue", "training_queue retry ", shell="zsh")

    assert "".join(told) == (
        """_arguments'*::(("in_failed-20260101-000000.jsonl""in_failed.jsonl""in_skipped.jsonl"))'"""
    )


def test_where_no_daemon_has_run_a_shell_is_told_nothing(layout, tmp_path):
    assert completed_in_a_shell(layout, "training_queue", "training_queue show ", base_dir=tmp_path) == []


def test_completing_loads_no_history(places):
    code = (
        "import sys; import daemon.cli.training_queue; from daemon.client.offered_names import all_names; "
        "from trainer.protocol.layout import Layout; from pathlib import Path; "
        f"all_names(Layout(Path({str(places.base)!r})), ''); "
        "print([m for m in ('sqlite3', 'rich', 'daemon.jobs.listing') if m in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
