"""A model whose adapter was merged is backed up, drilled and restored with the base model made for it."""

import shutil

import pytest
import torch

from tests.support import FakeClock, job_for, rows, write_jsonl
from tests.trainer.engine_rig import PEFT_IS_BEHIND, current, loaded, prompt_in, settings_with, train
from trainer.backups import catalog
from trainer.backups.creation import Making, create
from trainer.backups.destination import open_destination
from trainer.backups.restoring import Target, restore
from trainer.mains import drill_backup
from trainer.mains.fingerprint_logits import logits_of
from trainer.protocol.backups import CreateTask, DrillOrder
from trainer.protocol.checkpoints import find_newest
from trainer.protocol.layout import Layout
from trainer.session import merged_model
from trainer.session.consolidation import consolidate
from trainer.versions.consolidation import ConsolidateOrder

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)


def said(words):
    """Nobody listens."""


@pytest.fixture
def merged(tmp_path, tiny_folder, monkeypatch):
    """A working directory with a merged adapter, and its settings."""
    monkeypatch.setattr(merged_model, "ROWS", 2)
    monkeypatch.setattr(merged_model, "PROMPTS", 1)
    lora = {"method": "lora", "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2, "warmup_steps": 0}
    settings = settings_with(tiny_folder, training=lora)
    layout = Layout(tmp_path / "work")
    layout.create()
    path = write_jsonl(layout.base / "a.jsonl", rows(3))
    train(layout.base, settings, [(job_for(path, id="a"), path)])
    order = ConsolidateOrder(
        base_dir=layout.base,
        checkpoint=current(layout.base).resolve().name,
        settings=settings.model_dump(mode="json"),
        trained=(),
        suites=(),
    )
    consolidate(order, tell=said, clock=FakeClock(1_700_000_000.0))
    return layout, settings


def test_it_passes_the_drill_and_trains_on_elsewhere(merged, tmp_path):
    layout, settings = merged
    to = str(tmp_path / "backups")
    destination = open_destination(to, base_dir=layout.base)

    def logits(checkpoint):
        return logits_of(checkpoint.path, base_dir=layout.base, models=layout.models, tell=said)

    task = CreateTask(why="asked for", fingerprint_max_bytes=10**9)
    made = create(task, Making(layout, destination, logits, said))
    expected = answer(layout.base, settings)
    shutil.rmtree(layout.models / "bases")

    drilled = drill_backup.carry_out(DrillOrder(base_dir=layout.base, to=to), said)
    again = tmp_path / "again"
    restore(catalog.find(destination, made.id), destination, Target(again, False), stamp="1", tell=said)

    assert (drilled.passed, drilled.is_exact) == (True, True)
    own_base = find_newest(again / "models" / "checkpoints").newest.manifest.own_base
    assert (again / "models" / own_base / "model.safetensors").is_file()
    assert torch.equal(answer(again, settings), expected)


def answer(base_dir, settings):
    model = loaded(base_dir, settings).trainer.model.eval()
    with torch.no_grad():
        return model(prompt_in(current(base_dir))).logits
