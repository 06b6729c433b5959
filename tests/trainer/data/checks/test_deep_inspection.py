"""A deep look at a file: what it has in common with what was trained, what is held out, and itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.support import row, rows, write_jsonl
from tests.trainer.row_texts import answer, minhashes, words
from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.checks.deep_inspection import FIRST_SHOWN, DeepInspection
from trainer.data.checks.seen_rows import FILE_NAME, SeenRows
from trainer.pipeline.comparisons import open_deep_inspection
from trainer.protocol.deep_findings import DeepFindings, Duplicates, Place, PrivateData


def numbered(*texts, first=1):
    return [(line, answer(text)) for line, text in enumerate(texts, first)]


def deep_findings(rows, *, seen=None):
    with closing(DeepInspection(seen=seen)) as inspection:
        for line, conversation in rows:
            inspection.note(line, conversation)
        return inspection.findings()


def different(number, *, seed=0):
    """Return texts that have nothing in common: those of `minhashes`."""
    return [" ".join(words(40, seed * 1_000_000 + line)) for line in range(1, number + 1)]


def look(base_dir, texts, *, data=None, **sections):
    settings = Settings.model_validate({"data": {"validation": "deep"} | (data or {}), **sections})
    with open_deep_inspection(settings, base_dir=base_dir) as deep:
        for line, conversation in numbered(*texts):
            deep.note(line, conversation)
        return deep.findings()


@pytest.fixture
def seen(tmp_path):
    with SeenRows.open(tmp_path / FILE_NAME) as index:
        index.add("a", "old.jsonl", minhashes(10), max_rows=100)
        yield index


# ---- duplicates


def test_different_rows_are_nothing_to_tell_of():
    assert deep_findings(numbered(*different(300))) == DeepFindings(
        rows=300, trained_before=Duplicates(), within_file=Duplicates(), held_out=Duplicates()
    )


def test_rows_trained_before_are_counted_and_the_first_is_named(seen):
    old = different(3)
    nearly = " ".join([*words(40, 2)[:-1], "another"])

    found = deep_findings(numbered(*different(7, seed=1), old[2].upper(), nearly), seen=seen)

    assert (found.trained_before.exact, found.trained_before.near) == (1, 1)
    assert found.trained_before.first[0] == Place(
        line=8, other_file="old.jsonl", other_line=3, similarity=1.0
    )
    assert found.messages[0].startswith(
        "2 of 9 rows (22.2%; 1 the same, 1 nearly) were trained before; "
        "the first: line 8 is line 3 of old.jsonl (similarity 1.00); remove them"
    )


def test_rows_that_repeat_an_earlier_one_of_the_file_are_counted(seen):
    one, two = different(2, seed=1)

    found = deep_findings(numbered(one, two, f"{one} ", " ".join([*two.split()[:-1], "another"])), seen=seen)

    assert (found.within_file.exact, found.within_file.near) == (1, 1)
    assert [place.other_line for place in found.within_file.first] == [1, 2]
    assert "repeat another row of the file; the first: line 3 is line 1 of this file" in found.messages[0]


def test_only_the_first_places_are_kept(seen):
    found = deep_findings(numbered(*different(10), first=50), seen=seen)

    assert found.trained_before.exact == 10
    assert [place.line for place in found.trained_before.first] == [50 + n for n in range(FIRST_SHOWN)]


def test_an_index_that_breaks_meanwhile_costs_only_what_it_would_have_told(seen):
    seen.close()

    found = deep_findings(numbered(*different(2)), seen=seen)

    assert found.rows == 2
    assert found.messages == ("Cannot operate on a closed database.; rows trained before are not recognised",)


def test_rows_may_be_inspected_on_another_thread(base_dir):
    settings = Settings.model_validate({"data": {"validation": "deep"}})
    with open_deep_inspection(settings, base_dir=base_dir) as deep, ThreadPoolExecutor(1) as other:
        for line, conversation in numbered(*different(2), *different(2)):
            other.submit(deep.note, line, conversation).result()

        assert deep.findings().within_file.exact == 2


def test_a_few_repeated_rows_are_a_note_and_more_a_warning():
    few, more = (deep_findings(numbered(*different(100), *different(n))) for n in (1, 2))

    assert [found.findings[0].level for found in (few, more)] == ["note", "warning"]


# ---- what is held out


def test_a_row_that_also_stands_in_the_validation_file_is_named_with_both_lines(base_dir):
    one, two, three = different(3)
    nearly = " ".join([*three.split()[:-1], "another"])
    write_jsonl(base_dir / "held.jsonl", [*rows(4), row("Tell me.", one), row("Tell me.", three)])

    found = look(base_dir, [two, one, nearly], validation={"file": "held.jsonl"})

    assert (found.held_out.exact, found.held_out.near) == (1, 1)
    assert found.held_out.first[0] == Place(
        line=2, other_file="validation.file (held.jsonl)", other_line=5, similarity=1.0
    )
    assert "2 of 3 rows" in found.messages[0]
    assert "also appear in held-out data; the first: line 2 is line 5 of validation.file" in found.messages[0]


def test_a_held_out_file_that_cannot_be_read_is_the_settings_fault(base_dir):
    with pytest.raises(BadConfig, match=r"gone\.jsonl: No such file.*; expected a readable JSONL file"):
        look(base_dir, ["Hello."], validation={"file": "gone.jsonl"})


def test_malformed_rows_of_a_held_out_file_are_left_out(base_dir):
    write_jsonl(base_dir / "held.jsonl", ["no json", row("Tell me.", "Hello.")])

    found = look(base_dir, ["Hello."], validation={"file": "held.jsonl"})

    assert found.held_out.first[0].other_line == 2


# ---- with the working directory


def test_rows_trained_before_are_found_in_the_models_folder(base_dir):
    (base_dir / "models").mkdir(exist_ok=True)
    with SeenRows.open(base_dir / "models" / FILE_NAME) as index:
        index.add("a", "old.jsonl", minhashes(2), max_rows=10)

    assert look(base_dir, different(1)).trained_before.exact == 1


def test_a_damaged_index_is_reported_and_stops_nothing(base_dir):
    (base_dir / "models").mkdir(exist_ok=True)
    (base_dir / "models" / FILE_NAME).write_bytes(b"damaged" * 1000)

    found = look(base_dir, different(2))

    assert found.rows == 2
    assert len(found.messages) == 1
    assert "file is not a database" in found.messages[0]
    assert "rows trained before are not recognised" in found.messages[0]


# ---- private data


def test_private_data_is_counted_by_rows_and_never_shown_in_full(base_dir):
    texts = ["Write to jane@example.org, or ann@example.org.", "Hello.", "It is bob@example.org."]

    found = look(base_dir, texts, data={"private_patterns": ["email", "iban"]})

    assert found.private_data == (PrivateData(pattern="email", rows=2, first=((1, "jan…"), (3, "bob…"))),)
    assert found.messages == (
        "2 of 3 rows hold what looks like email; the first: line 1, beginning with jan…; "
        "the model may repeat it to anyone; remove or replace it",
    )
    assert "example.org" not in found.model_dump_json()


def test_nobody_looks_for_private_data_unasked(base_dir):
    assert look(base_dir, ["jane@example.org"]).private_data == ()


def test_findings_survive_being_sent(base_dir):
    found = look(base_dir, ["jane@example.org"] * 2, data={"private_patterns": ["email"]})

    assert DeepFindings.model_validate(json.loads(found.model_dump_json())) == found
