"""What the daemon does with whole files that are bad, packed, mixed or under other names."""

import gzip
import json
import os

import pytest
import zstandard

from daemon.files.notes import REASON_SUFFIX, REJECTED_SUFFIX, is_users_file, note_beside
from tests.corpus.cases import BAD_FILES, between
from tests.support import row, rows
from trainer.protocol.job import Outcome

PACKERS = {".gz": gzip.compress, ".zst": zstandard.compress}


def drop(rig, name, content):
    """Put a file with this content in place by a rename."""
    partial = rig.layout.logs / f".{name}.partial"
    partial.write_bytes(content)
    os.replace(partial, rig.layout.inbox / name)


def text(values):
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def reason_of(rig, name):
    path = rig.layout.failed / f"{name}.reason.json"
    return json.loads(path.read_bytes())["message"] if path.exists() else ""  # it comes after the file


def test_every_bad_file_fails_with_its_reason_and_a_good_one_is_trained(rig):
    cases = {f"bad-{i}.jsonl": case for i, case in enumerate(BAD_FILES.values())}
    for name, case in cases.items():
        drop(rig, name, case.content)
    rig.drop("good.jsonl")

    rig.start()

    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    rig.until_in(Outcome.FAILED, *cases)
    for name, case in cases.items():
        said = "it is empty" if not case.content else case.reason
        rig.until(lambda name=name, said=said: said in reason_of(rig, name), f"reason of {name}: {said}")


def test_a_table_under_the_name_of_json_lines_is_told_with_the_command_that_converts_it(rig):
    drop(rig, "data.jsonl", b"prompt,completion\n1 + 1?,2\n")
    drop(rig, "list.jsonl", json.dumps(rows(2)).encode())
    rig.start()

    rig.until_in(Outcome.FAILED, "data.jsonl", "list.jsonl")

    for name, what in (("data", "a table of comma-separated values (CSV)"), ("list", "one JSON array")):
        way_out = f"convert and add it: training_queue add {rig.layout.failed}/{name}.jsonl"
        said = f"it is {what}, not JSON Lines; {way_out}"
        rig.until(lambda name=name, said=said: reason_of(rig, f"{name}.jsonl") == said, said)


def test_the_command_names_the_file_by_the_name_that_it_has_now(rig):
    for name in ("data.jsonl", "data-2.jsonl"):
        drop(rig, "data.jsonl", b"prompt,completion\n1 + 1?,2\n")
        rig.start() if name == "data.jsonl" else None
        rig.until_in(Outcome.FAILED, name)

    rig.until(
        lambda: reason_of(rig, "data-2.jsonl").endswith(f"add {rig.layout.failed}/data-2.jsonl"), "the name"
    )


def test_what_is_in_a_file_that_is_not_accepted_is_told_in_the_alert(rig):
    drop(rig, "data.csv", b"prompt,completion\n1 + 1?,2\n")
    drop(rig, "rows.ndjson", text(rows(2)))
    drop(rig, "zipped.bin", gzip.compress(text(rows(2))))

    rig.start()

    inbox = rig.layout.inbox
    sentences = (
        "data.csv: it is a table of comma-separated values (CSV), not JSON Lines; "
        f"convert and add it: training_queue add {inbox}/data.csv --base-dir {rig.layout.base}",
        f"it looks like JSON Lines; rename it: mv -n {inbox}/rows.ndjson {inbox}/rows.jsonl",
        f"mv -n {inbox}/zipped.bin {inbox}/zipped.jsonl.gz",
    )
    rig.until(
        lambda: all(any(sentence in alert for alert in rig.status()["alerts"]) for sentence in sentences),
        "an alert each",
    )


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_is_trained_and_keeps_its_whole_suffix_when_it_is_numbered(rig, suffix):
    name, again = f"a.jsonl{suffix}", f"a-2.jsonl{suffix}"
    rig.start()

    for number in range(2):
        drop(rig, name, PACKERS[suffix](text(rows(3, start=3 * number))))
        rig.until_in(Outcome.COMPLETED, (name, again)[number])

    assert sorted(path.name for path in rig.layout.finished(Outcome.COMPLETED).iterdir()) == [again, name]


def test_rejected_rows_of_a_packed_file_are_set_aside_by_their_lines(rig):
    rig.configure(data={"max_bad_row_fraction": 0.5})
    drop(rig, "a.jsonl.gz", gzip.compress(between(b"no json")))

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl.gz")
    note = json.loads((rig.layout.failed / "a.jsonl.gz.rejected.jsonl").read_bytes())
    assert (note["line"], note["row"]) == (2, "no json")


def test_more_than_is_allowed_is_not_unpacked(rig):
    rig.configure(data={"max_unpacked_bytes": 1 << 20})
    line = text([row(answer="x" * 5000 + str(i)) for i in range(250)])
    drop(rig, "a.jsonl.gz", gzip.compress(line))

    rig.start()

    rig.until_in(Outcome.FAILED, "a.jsonl.gz")
    rig.until(lambda: "more than 1048576 bytes (data.max_unpacked_bytes)" in reason_of(rig, "a.jsonl.gz"))


def test_the_ledger_says_which_format_and_metadata_a_file_has(rig):
    rig.configure(data={"fields": {"prompt": "frage", "completion": "antwort", "skill": "thema"}})
    drop(rig, "a.jsonl", text([{"frage": "q", "antwort": "a", "thema": "math"}]))

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    [known] = rig.until(lambda: rig.read("SELECT * FROM jobs WHERE state='completed'"))
    assert known["format"] == "prompt_completion"
    assert json.loads(known["metadata"]) == {"skill": {"math": 1}}


def test_two_bad_files_of_one_very_long_name_each_get_their_notes(rig):
    rig.start()
    name = "y" * 235 + ".jsonl"
    for _ in range(2):
        drop(rig, name, text([{}]))
        rig.until(lambda: not (rig.layout.inbox / name).exists(), "the file to be taken")

    drop(rig, "good.jsonl", text([row()]))

    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    bad = [path for path in rig.layout.failed.iterdir() if is_users_file(path.name)]
    rig.until(lambda: all(note_beside(path, REASON_SUFFIX).exists() for path in bad), "the reasons")
    notes = {note_beside(path, REJECTED_SUFFIX).name for path in bad}
    assert len(bad) == len(notes) == 2
    assert all((rig.layout.failed / note).exists() for note in notes)
