"""Two states of a model are compared on the same rows and prompts, as each would be used."""

import json
import shutil

import pytest

from tests.support import row, rows, write_jsonl
from tests.trainer.engine_rig import PEFT_IS_BEHIND, loaded, settings_with
from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.protocol.checkpoints import read_manifest
from trainer.protocol.comparison import CompareOrder
from trainer.protocol.faults import UnusableModel
from trainer.session.kept_model import settings_of_kept
from trainer.session.model_comparison import compare

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

LORA = {"method": "lora", "lora_rank": 4, "learning_rate": 1e-2, "warmup_steps": 0}
QUESTION = {"prompts": ["Say 3."], "max_new_tokens": 8}


def said(words):
    """Nobody listens."""


def settings_of(tiny_folder, validation, method="lora", **sections):
    training = LORA if method == "lora" else {"learning_rate": 1e-2, "warmup_steps": 0}
    sections = {"validation": {"file": str(validation)}, "previews": QUESTION} | sections
    return settings_with(tiny_folder, training=training, **sections)


@pytest.fixture(scope="module", params=["lora", "full"])
def trained(request, tmp_path_factory, tiny_folder):
    """A working directory with two checkpoints, the settings, and the validation losses of both."""
    base_dir = tmp_path_factory.mktemp(request.param)
    validation = write_jsonl(base_dir / "validation.jsonl", rows(6, start=50))
    settings = settings_of(tiny_folder, validation, request.param)
    engine = loaded(base_dir, settings)
    made = [engine.run_job(write_jsonl(base_dir / f"{name}.jsonl", rows(9))).checkpoint for name in "ab"]
    losses = [read_manifest(path).progress.loss_of_these_weights for path in made]
    return base_dir, settings, made, losses


def order_for(base_dir, settings, before, after):
    return CompareOrder(
        base_dir=base_dir,
        before=before,
        after=after,
        settings=settings.model_dump(mode="json"),
        daemon_runs=False,
    )


@pytest.fixture(scope="module")
def compared(trained):
    """What was found, and the files of the working directory before and after, with their times."""
    base_dir, settings, made, _ = trained
    before = files_in(base_dir)
    found = compare(order_for(base_dir, settings, *made), said)
    return found, before, files_in(base_dir)


def files_in(base_dir):
    return {path: path.lstat().st_mtime_ns for path in base_dir.rglob("*")}


def test_the_losses_are_those_that_training_measured(trained, compared):
    *_, losses = trained
    found, _, _ = compared

    assert (found.loss.before, found.loss.after) == pytest.approx(losses, rel=1e-5)
    assert (found.loss.rows, found.loss.left_out, found.device) == (6, 0, "cpu")
    assert found.loss.low < found.loss.difference < found.loss.high
    [answer] = found.answers
    assert answer.prompt == "Say 3."


def test_nothing_below_the_working_directory_is_changed(compared):
    _, before, after = compared

    assert after == before


def test_the_answer_travels_as_json(compared):
    found, _, _ = compared

    assert json.loads(found.model_dump_json())["loss"]["rows"] == 6


def test_a_model_does_not_differ_from_itself(trained):
    base_dir, settings, made, _ = trained

    found = compare(order_for(base_dir, settings, made[0], made[0]), said)

    assert found.loss.difference == 0.0
    assert all(answer.is_same for answer in found.answers)


def test_an_adapter_beside_another_base_model_is_refused(tmp_path, tiny_folder):
    base = shutil.copytree(tiny_folder, tmp_path / "base")
    validation = write_jsonl(tmp_path / "validation.jsonl", rows(2))
    settings = settings_of(base, validation)
    made = loaded(tmp_path, settings).run_job(write_jsonl(tmp_path / "a.jsonl", rows(3))).checkpoint
    config = base / "config.json"
    config.write_text(config.read_text() + " ")

    with pytest.raises(UnusableModel, match="has the fingerprint"):
        compare(order_for(tmp_path, settings, made, made), said)


def test_rows_that_are_cut_off_before_their_answer_are_refused(trained, tmp_path):
    base_dir, settings, made, _ = trained
    path = write_jsonl(tmp_path / "v.jsonl", [row(question="word " * 40)])
    short = settings.model_copy(
        update={
            "validation": settings.validation.model_copy(update={"file": str(path)}),
            "data": settings.data.model_copy(update={"max_length": 32}),
        }
    )

    with pytest.raises(BadConfig, match="none of the 1 rows has a supervised token"):
        compare(order_for(base_dir, short, made[0], made[0]), said)


def test_a_model_is_loaded_by_the_settings_it_was_made_with(trained, tiny_folder):
    _, _, made, _ = trained
    manifest = read_manifest(made[0])
    other = settings_with("elsewhere", training={"method": "full", "optimizer": "adafactor"})

    found = settings_of_kept(manifest, other)

    assert found.model.base_model == str(tiny_folder)
    assert found.training.method == manifest.method
    unknown = manifest.model_copy(update={"locked": {"model.shape": 1}})
    with pytest.raises(LockedSetting, match=r"model\.shape is not a setting of this release"):
        settings_of_kept(unknown, other)
