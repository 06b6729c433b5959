"""When is a dropped file complete? Every case as a number."""

import pytest

from daemon.files.identity import Identity
from daemon.files.names import is_temporary, is_training_file
from daemon.files.probe import FileProbe
from daemon.intake.completeness import Candidate, LookAgain, Refuse, Take, judge

FILE = Identity(device=1, inode=2, size=300, mtime_ns=4)
EMPTY = Identity(device=1, inode=2, size=0, mtime_ns=4)
NOW = 100.0
FAST_S, SLOW_S = 0.5, 2.0


def sighting(**facts):
    return FileProbe(**({"kind": "file", "identity": FILE, "has_writer": False, "ends_whole": True} | facts))


def unchanged_for(seconds, identity=FILE, *, renamed_in=False):
    return Candidate(identity=identity, since=NOW - seconds, renamed_in=renamed_in)


def verdict_on(candidate, seen):
    return judge(candidate, seen, now=NOW, settle_s=FAST_S, settle_slow_s=SLOW_S)


@pytest.mark.parametrize("unchanged_s, is_taken", [(0.0, False), (0.49, False), (0.5, True), (9.0, True)])
def test_a_file_written_in_place_is_taken_once_it_has_settled(unchanged_s, is_taken):
    verdict = verdict_on(unchanged_for(unchanged_s), sighting())

    assert isinstance(verdict, Take) == is_taken


@pytest.mark.parametrize("doubt", [{"has_writer": None}, {"ends_whole": False}])
@pytest.mark.parametrize("unchanged_s, is_taken", [(0.5, False), (1.99, False), (2.0, True)])
def test_a_doubtful_file_must_stay_unchanged_for_longer(doubt, unchanged_s, is_taken):
    verdict = verdict_on(unchanged_for(unchanged_s), sighting(**doubt))

    assert isinstance(verdict, Take) == is_taken


@pytest.mark.parametrize(
    "change",
    [
        Identity(device=9, inode=2, size=300, mtime_ns=4),
        Identity(device=1, inode=9, size=300, mtime_ns=4),
        Identity(device=1, inode=2, size=301, mtime_ns=4),
        Identity(device=1, inode=2, size=300, mtime_ns=5),
    ],
    ids=["device", "inode", "size", "time"],
)
def test_any_change_starts_the_wait_anew(change):
    verdict = verdict_on(unchanged_for(99), sighting(identity=change))

    assert verdict == LookAgain(NOW + FAST_S, Candidate(identity=change, since=NOW, renamed_in=False))


def test_the_next_look_is_when_the_wait_is_over_not_later():
    verdict = verdict_on(unchanged_for(0.2), sighting())

    assert verdict == LookAgain(NOW - 0.2 + FAST_S, unchanged_for(0.2))


def test_the_first_look_at_a_file_starts_its_wait():
    verdict = verdict_on(unchanged_for(99, identity=None), sighting())

    assert verdict == LookAgain(NOW + FAST_S, unchanged_for(0))


@pytest.mark.parametrize("ends_whole", [True, False])
@pytest.mark.parametrize("has_writer", [False, None])
def test_a_file_renamed_in_is_taken_at_the_first_look(ends_whole, has_writer):
    candidate = unchanged_for(0, identity=None, renamed_in=True)

    verdict = verdict_on(candidate, sighting(ends_whole=ends_whole, has_writer=has_writer))

    assert verdict == Take()


@pytest.mark.parametrize("renamed_in", [True, False])
def test_nothing_is_taken_while_somebody_has_it_open_for_writing(renamed_in):
    verdict = verdict_on(unchanged_for(99, renamed_in=renamed_in), sighting(has_writer=True))

    assert isinstance(verdict, LookAgain)
    assert verdict.at == NOW + FAST_S
    assert verdict.candidate.renamed_in == renamed_in


def test_the_wait_starts_only_after_the_writer_has_gone():
    open_still = verdict_on(unchanged_for(99), sighting(has_writer=True))

    verdict = verdict_on(open_still.candidate, sighting())

    assert verdict == LookAgain(NOW + FAST_S, unchanged_for(0))


@pytest.mark.parametrize("renamed_in", [True, False])
@pytest.mark.parametrize("unchanged_s, is_refused", [(0.5, False), (1.99, False), (2.0, True)])
def test_an_empty_file_is_refused_only_after_the_slow_wait(renamed_in, unchanged_s, is_refused):
    candidate = unchanged_for(unchanged_s, identity=EMPTY, renamed_in=renamed_in)

    verdict = verdict_on(candidate, sighting(identity=EMPTY))

    assert isinstance(verdict, Refuse) == is_refused
    assert isinstance(verdict, LookAgain) != is_refused


@pytest.mark.parametrize("kind", ["symbolic link", "directory", "named pipe", "socket", "device"])
def test_what_is_no_file_is_refused_by_its_kind(kind):
    verdict = verdict_on(unchanged_for(0), sighting(kind=kind, has_writer=None))

    assert isinstance(verdict, Refuse)
    assert kind in verdict.reason


def test_an_unreadable_file_is_refused_with_the_way_out():
    verdict = verdict_on(unchanged_for(0), sighting(is_readable=False, has_writer=None))

    assert isinstance(verdict, Refuse)
    assert "read permission" in verdict.reason


@pytest.mark.parametrize(
    "name, is_meant",
    [
        ("a.jsonl", True),
        ("with space.jsonl", True),
        ("-leading-dash.jsonl", True),
        ("😀.jsonl", True),
        ("\udcff.jsonl", True),
        (".jsonl", False),
        (".a.jsonl", False),
        (".a.jsonl.gCT2xx", False),
        ("a.jsonl.part", False),
        ("a.jsonl.partial", False),
        ("a.jsonl.filepart", False),
        ("a.jsonl.crdownload", False),
        ("a.jsonl.tmp", False),
        ("a.jsonl.swp", False),
        ("a.jsonl~", False),
        ("sedTzBjeu", False),
        ("a.JSONL", False),
        ("a.json", False),
        ("a.jsonl.gz", True),
        ("a.jsonl.zst", True),
        (".jsonl.gz", False),
        ("a.jsonl.gz.part", False),
        ("a.json.gz", False),
        ("a.gz", False),
        ("a.jsonl.xz", False),
    ],
)
def test_a_name_says_whether_a_file_is_meant(name, is_meant):
    assert is_training_file(name) == is_meant


@pytest.mark.parametrize(
    "name, is_it", [("notes.txt", False), ("x.part", True), (".hidden", True), ("x~", True)]
)
def test_a_temporary_name_is_told_from_a_foreign_one(name, is_it):
    assert is_temporary(name) == is_it
