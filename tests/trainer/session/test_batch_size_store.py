"""What was measured is remembered, and what training has taught since holds from the step that taught it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.session.batch_size_store import FILE_NAME, BatchSizeFile

KEY = {"model": "abc", "threads": 2}


class Model:
    """A model's age, and what measuring it would find."""

    def __init__(self, file: Path) -> None:
        self.step = 0
        self.measured = 0
        self.told: list[str] = []
        self._file = file

    def batch_sizes(self, *, finds: int = 4096, **key: str) -> BatchSizeFile:
        def measure() -> int:
            self.measured += 1
            return finds

        return BatchSizeFile(
            self._file,
            KEY | key,
            steps_taken=lambda: self.step,
            measure=measure,
            tell=self.told.append,
        )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def model(file: Path) -> Model:
    return Model(file)


def test_only_the_first_start_measures(model):
    first, again = model.batch_sizes().for_new_job(), model.batch_sizes(finds=8192).for_new_job()

    assert (first, again, model.measured) == (4096, 4096, 1)


def test_a_number_is_known_once_it_was_measured(model):
    before = model.batch_sizes()
    model.batch_sizes().for_new_job()

    assert (before.is_known, model.batch_sizes().is_known) == (False, True)


def test_another_model_or_machine_is_measured_for_itself_and_both_are_remembered(model):
    model.batch_sizes().for_new_job()
    model.batch_sizes(finds=512, device="another").for_new_job()

    assert (model.batch_sizes().for_new_job(), model.batch_sizes(device="another").for_new_job()) == (
        4096,
        512,
    )
    assert model.measured == 2


def truncated(content: bytes) -> bytes:
    return content[:-20]


def of_another_format(content: bytes) -> bytes:
    return json.dumps(json.loads(content) | {"format": 2}).encode()


def senseless(content: bytes) -> bytes:
    return content.replace(b"4096", b"0")


@pytest.mark.parametrize("spoil", [truncated, of_another_format, senseless, lambda content: b"[]"])
def test_a_damaged_or_foreign_file_is_moved_aside_and_measured_again(
    model: Model, file: Path, spoil: Callable[[bytes], bytes]
):
    model.batch_sizes().for_new_job()
    file.write_bytes(spoil(file.read_bytes()))
    content = file.read_bytes()

    assert model.batch_sizes(finds=1024).for_new_job() == 1024
    assert model.batch_sizes().for_new_job() == 1024
    assert model.measured == 2
    assert file.with_name("fit.json.damaged").read_bytes() == content
    [told] = model.told
    assert told.startswith(f"{file} was damaged, so it is fit.json.damaged now; expected")


def test_what_was_moved_aside_before_stays(model: Model, file: Path):
    for content in ("first", "second"):
        file.write_text(content)
        model.batch_sizes()

    assert {path.read_text() for path in file.parent.glob("fit.json*damaged")} == {"first", "second"}


def test_a_file_that_cannot_be_written_is_nobodys_fault_but_its_own(tmp_path):
    batch_sizes = Model(tmp_path / "gone" / FILE_NAME).batch_sizes

    with pytest.raises(OSError, match=r"fit\.json.*free some space, or give write permission") as refused:
        batch_sizes().note_out_of_memory(5)

    assert refused.value.errno is None  # so it is not taken for a fault of the file in training


@pytest.mark.parametrize("step, tokens", [(0, 4096), (9, 4096), (10, 1024), (99, 1024)])
def test_what_a_step_has_taught_holds_from_that_step_on(model, step, tokens):
    model.step = 11  # ten steps, and the one that ran out of memory
    model.batch_sizes().note_out_of_memory(1024)
    model.step = step

    batch_sizes = model.batch_sizes()

    assert (batch_sizes.limited(8192), batch_sizes.for_new_job()) == (
        min(8192, tokens) if step > 9 else 8192,
        tokens,
    )


def test_what_is_known_changes_nothing(model, file):
    model.step = 1
    model.batch_sizes().note_out_of_memory(1024)
    content = file.read_bytes()

    for tokens in (1024, 2048, 4096, 8192):
        model.batch_sizes().note_out_of_memory(tokens)

    assert file.read_bytes() == content


def test_a_file_of_an_earlier_release_counts_and_its_keys_stay(model, file):
    known = {"key": KEY, "tokens": 4096, "lessons": [{"step": 3, "tokens": 512}]}
    file.write_text(json.dumps({"format": 1, "fits": [known]}))
    model.step = 9

    found = model.batch_sizes().for_new_job()
    model.batch_sizes().note_out_of_memory(256)

    [fit] = json.loads(file.read_text())["fits"]
    assert found == 512
    assert fit == known | {"lessons": [*known["lessons"], {"step": 8, "tokens": 256}]}


def test_nothing_is_limited_before_anything_was_measured(model):
    assert model.batch_sizes().limited(123) == 123
    assert model.measured == 0


def test_a_folder_in_its_place_is_told_from_a_fault_of_the_files_in_training(model, file):
    file.mkdir()

    with pytest.raises(OSError, match=r"fit\.json.*cannot be written"):
        model.batch_sizes().for_new_job()
