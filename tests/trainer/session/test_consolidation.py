"""An adapter becomes a part of its base model: the same model, a fresh adapter, and all or nothing."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.support import FakeClock, job_for, rows, write_jsonl
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    current,
    loaded,
    optimizer_state,
    prompt_in,
    settings_with,
    train,
    weights_sha256,
)
from trainer.checkpoints import bases, publishing
from trainer.checkpoints.going_back import go_back
from trainer.checkpoints.publishing import publish_folder
from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.evaluation.regression import Measured
from trainer.protocol.checkpoints import find_newest, verify
from trainer.protocol.faults import ModelUnavailable, UnusableModel
from trainer.protocol.going_back import GoBackOrder
from trainer.session import consolidation, merged_model
from trainer.session.consolidation import OtherCheckpoint, consolidate
from trainer.session.gate_state import GateState, Group, Member, read_gate, write_gate
from trainer.session.merged_model import trained_rows_of
from trainer.versions.consolidation import ConsolidateOrder
from trainer.versions.record import TrainedFile, write_record
from trainer.versions.registry import Versions

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

LORA = {"method": "lora", "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2, "warmup_steps": 0}
FAILPOINTS = [
    name
    for module in (bases, consolidation, publishing)
    for name in re.findall(
        r'failpoint\("((?:base|consolidate|checkpoint|pointer)\..+?)"\)', Path(module.__file__).read_text()
    )
]


def said(words):
    """Nobody listens."""


def newest(base_dir):
    return find_newest(base_dir / "models" / "checkpoints").newest


def order_for(base_dir, settings, *trained):
    return ConsolidateOrder(
        base_dir=base_dir,
        checkpoint=newest(base_dir).path.name,
        settings=settings.model_dump(mode="json"),
        trained=trained,
        suites=(),
    )


def consolidated(base_dir, settings, *trained):
    return consolidate(order_for(base_dir, settings, *trained), tell=said, clock=FakeClock(1_700_000_000.0))


def trained_on(base_dir, settings, name="a", number=7):
    path = write_jsonl(base_dir / f"{name}.jsonl", rows(number))
    train(base_dir, settings, [(job_for(path, id=name), path)])


@pytest.fixture(autouse=True)
def quick_trial(request, monkeypatch):
    """Try few rows; only the test that counts them tries all."""
    if "counted" not in request.node.name:
        try_less(monkeypatch)


def try_less(patch):
    patch.setattr(merged_model, "ROWS", 6)
    patch.setattr(merged_model, "PROMPTS", 2)
    patch.setattr(merged_model, "ANSWER_TOKENS", 3)


@pytest.fixture(scope="module")
def settings(tiny_folder):
    return settings_with(tiny_folder, training=LORA, checkpoints={"keep_last": 9})


@pytest.fixture(scope="module")
def once_trained(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("lora")
    trained_on(folder, settings)
    return folder


@pytest.fixture
def trained(once_trained, tmp_path):
    """A working directory with the checkpoint of three steps."""
    return shutil.copytree(once_trained, tmp_path / "base", symlinks=True)


@pytest.fixture(scope="module")
def once_merged(tmp_path_factory, once_trained, settings):
    folder = shutil.copytree(once_trained, tmp_path_factory.mktemp("merged") / "base", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        try_less(patch)
        return folder, consolidated(folder, settings)


@pytest.fixture
def merged(once_merged, tmp_path):
    """The same after its adapter was merged, and what was answered."""
    folder, done = once_merged
    return shutil.copytree(folder, tmp_path / "base", symlinks=True), done


def logits_in(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return model(prompt_in(folder)).logits


# ---- what it makes


def test_the_new_base_is_the_model_and_the_fresh_adapter_changes_nothing(trained, settings):
    before = logits_in(current(trained))

    done = consolidated(trained, settings)

    base = trained / "models" / done.consolidation.base
    for folder in (base, current(trained)):
        torch.testing.assert_close(logits_in(folder), before, rtol=0, atol=1e-4)
    assert 0 < done.consolidation.max_difference < 1e-4
    assert not (base / "adapter_config.json").exists()


def test_64_rows_are_tried_and_counted(trained, settings, tmp_path):
    validation = {"file": str(write_jsonl(tmp_path / "v.jsonl", rows(20)))}
    previews = {"prompts": ["Say 3.", "Say 4."]}
    settings = settings_with(trained, validation=validation, previews=previews).model_copy(
        update={"model": settings.model, "training": settings.training}
    )

    done = consolidated(trained, settings)

    assert (done.rows, done.answers) == (64, 2 + 8)


def test_the_validation_loss_is_that_of_the_last_weights_as_the_average_is_not_merged(base_dir, tiny_folder):
    averaged = LORA | {"average": "ema", "average_steps": 2}
    validation = {"file": str(write_jsonl(base_dir / "v.jsonl", rows(4)))}
    settings = settings_with(tiny_folder, training=averaged, validation=validation)
    trained_on(base_dir, settings)
    before = newest(base_dir).manifest.progress

    consolidated(base_dir, settings)

    after = newest(base_dir).manifest.progress
    assert (before.validation_weights, after.validation_weights) == ("average", "last")
    assert after.loss_of_these_weights == before.validation_other_loss != before.validation_loss


def test_the_step_goes_on_and_the_optimizer_begins_anew(trained, settings):
    before = newest(trained).manifest

    consolidated(trained, settings)

    after = verify(newest(trained).path)
    assert after.progress == before.progress
    assert (after.sequence, after.parent) == (before.sequence + 1, "step-000000003")
    assert after.locked == before.locked
    assert after.base_sha256 == after.consolidations[-1].base_sha256 != before.base_sha256
    assert optimizer_state(trained)["state"] == {}


def test_the_state_before_is_a_version_with_the_files_that_made_it(trained, settings):
    file = TrainedFile(
        job_id="a", name="a.jsonl", sha256="0" * 64, first_step=1, last_step=3, rows=7, outcome="completed"
    )
    weights = weights_sha256(trained)
    versions = Versions(trained / "models", clock=FakeClock())
    other = versions.create(newest(trained).path, made_by="hand", trained=lambda parent: ())
    # Of a checkpoint that had the same number, and was damaged
    write_record(other.path, other.record.model_copy(update={"checkpoint_sha256": "0" * 64}))

    done = consolidated(trained, settings, file)

    [_, version] = versions.all()
    assert done.consolidation.kept_as == version.id
    assert (version.record.made_by, version.record.checkpoint) == ("consolidate", "step-000000003")
    assert version.record.trained == (file,)
    assert version.has_optimizer_state
    assert version.record.files["adapter_model.safetensors"].sha256 == weights


def test_training_continues_beside_the_new_base_whatever_the_settings_call_it(merged, settings):
    trained, done = merged

    trained_on(trained, settings, "b")

    manifest = newest(trained).manifest
    assert manifest.progress.global_step == 6
    assert manifest.own_base == done.consolidation.base
    ready = loaded(trained, settings)
    assert ready.trainer.model.get_base_model().name_or_path == str(trained / "models" / manifest.own_base)


def test_a_stop_after_it_changes_no_bit_of_the_result(merged, settings, tmp_path):
    trained, _ = merged
    path = write_jsonl(tmp_path / "b.jsonl", rows(12))
    jobs = [(job_for(path, id="b"), path)]
    at_first = newest(trained)

    train(trained, settings, jobs)
    whole = weights_sha256(trained)
    go_to(trained, at_first)
    train(trained, settings, jobs, stop_at=at_first.manifest.progress.global_step + 2)
    train(trained, settings, jobs)

    assert weights_sha256(trained) == whole


def test_an_adapter_can_be_merged_again_and_again(trained, settings):
    first = consolidated(trained, settings)
    trained_on(trained, settings, "b")

    second = consolidated(trained, settings)

    manifest = newest(trained).manifest
    assert [item.base for item in manifest.consolidations] == [
        first.consolidation.base,
        second.consolidation.base,
    ]
    adapters = [
        (trained / "models" / "checkpoints" / item.merged / "adapter_model.safetensors").read_bytes()
        for item in manifest.consolidations
    ]
    assert adapters[0] != adapters[1]


@pytest.mark.parametrize("training", [{"lora_dora": True}, {"lora_rslora": True, "lora_targets": ["q_proj"]}])
def test_every_kind_of_adapter_is_merged(base_dir, tiny_folder, training):
    settings = settings_with(tiny_folder, training=LORA | training)
    trained_on(base_dir, settings)
    before = logits_in_engine(base_dir, settings)

    consolidated(base_dir, settings)

    torch.testing.assert_close(logits_in_engine(base_dir, settings), before, rtol=0, atol=1e-4)


def test_tokens_that_were_added_stay_and_are_trained_further(base_dir, tiny_folder):
    model = {"base_model": str(tiny_folder), "grow_vocabulary": True}
    settings = settings_with(tiny_folder, training=LORA, profile={"name": "emoji_think"}, model=model)
    trained_on(base_dir, settings)
    rows_before = trained_rows_of(current(base_dir))
    before = logits_in_engine(base_dir, settings)

    consolidated(base_dir, settings)

    torch.testing.assert_close(logits_in_engine(base_dir, settings), before, rtol=0, atol=1e-4)
    assert trained_rows_of(current(base_dir)) == rows_before != {}
    trained_on(base_dir, settings, "b", 1)


def logits_in_engine(base_dir, settings):
    model = loaded(base_dir, settings).trainer.model.eval()
    with torch.no_grad():
        return model(prompt_in(current(base_dir))).logits


def published_again(base_dir, work, **facts):
    """Publish the newest checkpoint once more, with a gate that waits to judge a file, and other progress."""
    checkpoint = newest(base_dir)
    folder = shutil.copytree(checkpoint.path, work)
    (folder / "MANIFEST.json").unlink()
    write_gate(folder, WAITING)
    manifest = checkpoint.manifest
    progress = manifest.progress.model_copy(update=facts)
    update = {"sequence": manifest.sequence + 1, "progress": progress}
    return publish_folder(base_dir / "models", folder, manifest.model_copy(update=update)).path.name


MEASURED = Measured(global_step=3, rows_id="rows", losses=(2.5,))
WAITING = GateState(
    groups=[
        Group(checkpoint="step-000000003", before=MEASURED, is_alone=False, members={"b": Member(name="b")})
    ],
    latest=MEASURED,
)


def test_the_gate_still_judges_the_files_that_wait_and_the_spine_stays(trained, settings, tmp_path):
    names = [
        published_again(
            trained, tmp_path / str(ended), ended_files=ended, gate_checkpoints=("step-000000003",)
        )
        for ended in range(2, 6)
    ]
    rules = settings.checkpoints.model_copy(update={"keep_last": 2})

    consolidated(trained, settings.model_copy(update={"checkpoints": rules}))

    manifest = newest(trained).manifest
    assert read_gate(newest(trained).path) == WAITING
    assert manifest.progress.gate_checkpoints == ("step-000000003",)
    kept = {path.name for path in (trained / "models" / "checkpoints").glob("step-*")}
    assert kept == {"step-000000003", *names, newest(trained).path.name}


# ---- going back over it


def go_to(base_dir, checkpoint):
    order = GoBackOrder(base_dir=base_dir, target=checkpoint.path, why="rollback", reason="worse", jobs=())
    return go_back(base_dir / "models", order, clock=FakeClock())


def test_the_model_can_go_back_over_it_and_forward_again(trained, settings):
    before, weights = newest(trained), weights_sha256(trained)
    consolidated(trained, settings)
    after = newest(trained)

    go_to(trained, before)

    assert newest(trained).manifest.own_base is None
    assert weights_sha256(trained) == weights
    engine = loaded(trained, settings)
    assert engine.trainer.model.get_base_model().name_or_path == settings.model.base_model
    assert engine.trainer.optimizer.state
    go_to(trained, after)
    assert newest(trained).manifest.own_base == after.manifest.own_base
    loaded(trained, settings)


def test_a_branch_from_before_it_can_be_merged_by_itself(trained, settings):
    before = newest(trained)
    first = consolidated(trained, settings)
    go_to(trained, before)
    trained_on(trained, settings, "b")

    second = consolidated(trained, settings)

    assert second.consolidation.base != first.consolidation.base
    assert len(newest(trained).manifest.consolidations) == 1


# ---- what it refuses


def assert_unchanged(base_dir, before):
    assert newest(base_dir).path == before.path
    assert not (base_dir / "models" / "bases").exists()
    assert Versions(base_dir / "models", clock=FakeClock()).all() == []
    assert not (base_dir / "models" / bases.STAGING).exists()


def test_a_model_that_is_trained_as_a_whole_has_no_adapter(base_dir, tiny_folder):
    settings = settings_with(tiny_folder)
    trained_on(base_dir, settings)

    with pytest.raises(BadConfig, match="the weights themselves are trained, so there is no"):
        consolidated(base_dir, settings)


def test_nothing_is_merged_twice(merged, settings):
    trained, _ = merged

    with pytest.raises(BadConfig, match="nothing was trained since the adapter was last merged, at step 3"):
        consolidated(trained, settings)


def test_an_order_about_another_checkpoint_is_refused(trained, settings):
    order = order_for(trained, settings)
    trained_on(trained, settings, "b")

    with pytest.raises(OtherCheckpoint, match="newest checkpoint is step-000000006; expected step-000000003"):
        consolidate(order, tell=said, clock=FakeClock())


def test_a_merge_that_changes_the_model_is_refused(trained, settings, monkeypatch):
    before = newest(trained)

    def merge_badly(model):
        merged = merged_model.merge(model)
        with torch.no_grad():
            merged.get_input_embeddings().weight += 0.01
        return merged

    monkeypatch.setattr(consolidation, "merge", merge_badly)

    with pytest.raises(UnusableModel, match=r"logits of the merged model differ by .*; nothing was changed"):
        consolidated(trained, settings)
    assert_unchanged(trained, before)


def test_a_base_model_that_is_written_wrongly_is_refused(trained, settings, monkeypatch):
    before = newest(trained)

    def load_badly(folder, **options):
        model, tokenizer = consolidation_load(folder, **options)
        with torch.no_grad():
            model.get_input_embeddings().weight += 0.01
        return model, tokenizer

    consolidation_load = consolidation.load_model
    monkeypatch.setattr(consolidation, "load_model", load_badly)

    with pytest.raises(UnusableModel, match="the logits of the new base model on the disk differ"):
        consolidated(trained, settings)
    assert_unchanged(trained, before)


def test_another_answer_is_refused_even_if_all_logits_are_close(trained, settings):
    tried = merged_model.Behaviour([torch.zeros(2, 4)], ["three", "four"])
    other = merged_model.Behaviour([torch.zeros(2, 4)], ["three", "five"])

    with pytest.raises(UnusableModel, match="gives 1 of 2 answers differently"):
        merged_model.refuse_other_behaviour(tried, other, what="the merged model")


def test_without_room_nothing_is_written(trained, settings, monkeypatch):
    before = newest(trained)
    monkeypatch.setattr(bases.os, "statvfs", lambda path: type("Disk", (), {"f_bavail": 1, "f_frsize": 1})())

    with pytest.raises(OSError, match="0 MiB are free; expected"):
        consolidated(trained, settings)
    assert_unchanged(trained, before)


def test_a_lost_base_is_named_with_the_way_out(merged, settings):
    trained, done = merged
    (trained / "models" / done.consolidation.base).rename(trained / "elsewhere")

    with pytest.raises(ModelUnavailable, match=r"is not there: the base model of step-.*rollback"):
        loaded(trained, settings)


def test_another_base_in_the_settings_is_refused_rather_than_ignored(merged, settings):
    trained, _ = merged
    manifest = newest(trained).manifest
    other = settings.model_copy(
        update={"model": settings.model.model_copy(update={"base_model": manifest.own_base})}
    )

    with pytest.raises(LockedSetting, match=r"model\.base_model is"):
        loaded(trained, other)


# ---- kills


def test_the_model_is_as_before_or_merged_wherever_it_is_killed(trained, settings, tmp_path, monkeypatch):
    left = {}

    def keep_a_copy(place):  # of all that a kill would leave
        if place in FAILPOINTS and place not in left:
            left[place] = shutil.copytree(trained, tmp_path / place, symlinks=True)

    with monkeypatch.context() as patch:
        for module in (bases, consolidation, publishing):
            patch.setattr(module, "failpoint", keep_a_copy)
        consolidated(trained, settings)

    assert left.keys() == set(FAILPOINTS)
    for folder in left.values():
        found = newest(folder).manifest
        assert found.progress.global_step == 3
        if found.own_base is None:
            consolidated(folder, settings)
        assert len(newest(folder).manifest.consolidations) == 1
        assert len(list((folder / "models" / "bases").iterdir())) == 1
        assert len(Versions(folder / "models", clock=FakeClock()).all()) == 1


# ---- 4 bits


QLORA = LORA | {"method": "qlora"}


@pytest.fixture
def quantised(base_dir, tiny_folder):
    """A working directory with an adapter beside a base model in 4 bits, and its settings."""
    pytest.importorskip("bitsandbytes")
    validation = {"file": str(write_jsonl(base_dir / "validation.jsonl", rows(4, start=50)))}
    settings = settings_with(tiny_folder, training=QLORA, validation=validation)
    trained_on(base_dir, settings)
    return base_dir, settings


def test_weights_of_4_bits_are_unpacked_before_an_adapter_is_added(quantised, monkeypatch):
    base_dir, settings = quantised
    monkeypatch.setattr(consolidation, "MAX_LOSS_INCREASE", 9.0)

    done = consolidated(base_dir, settings)

    manifest = newest(base_dir).manifest
    assert done.consolidation.max_difference < 1e-4
    assert None not in (done.loss_before, done.loss_after)
    assert manifest.progress.loss_of_these_weights is None
    assert all(
        weight.dtype == torch.float32 for weight in weights_in(base_dir / "models" / manifest.own_base)
    )
    loaded(base_dir, settings)


def weights_in(folder):
    return load_file(folder / "model.safetensors").values()


def test_if_rounding_to_4_bits_again_makes_it_worse_nothing_is_changed(quantised, monkeypatch):
    base_dir, settings = quantised
    before = newest(base_dir)
    monkeypatch.setattr(consolidation, "MAX_LOSS_INCREASE", -0.9)

    with pytest.raises(
        UnusableModel, match="rounded to 4 bits again, the merged model has a validation loss"
    ):
        consolidated(base_dir, settings)
    assert_unchanged(base_dir, before)


def test_without_rows_to_show_what_rounding_does_it_is_refused(quantised):
    base_dir, settings = quantised
    without = settings.validation.model_copy(update={"file": None})

    with pytest.raises(BadConfig, match=r"expected a validation\.file"):
        consolidated(base_dir, settings.model_copy(update={"validation": without}))
