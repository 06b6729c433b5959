"""What an engine refuses to do."""

import pytest
import torch

from tests.support import rows, write_jsonl
from trainer.config.schema import CheckpointSettings, Settings
from trainer.mains.fault_kind import classify
from trainer.protocol.faults import BrokenModel
from trainer.session.engine import TrainerEngine


def test_weights_that_are_no_numbers_any_more_never_become_a_checkpoint(tmp_path):
    engine = TrainerEngine(Settings(), base_dir=tmp_path)
    engine.load()
    good = engine.save(CheckpointSettings()).result()
    with torch.no_grad():
        next(iter(engine.trainer.model.parameters()))[0] = float("nan")

    with pytest.raises(BrokenModel, match="not finite") as refused:
        engine.save(CheckpointSettings())

    assert (tmp_path / "models" / "current_model").resolve() == (tmp_path / "models" / good.path).resolve()
    assert classify(refused.value) == "nan", "the rows of its steps pay for it"


def test_a_file_that_is_changed_while_it_is_trained_fails(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", rows(400))
    seen = []

    def change_after_the_first_step(event):
        if event.kind == "steps_taken" and not seen:
            seen.append(event)
            write_jsonl(file, rows(400, start=1000))

    # All its rows would be looked at, and kept, before the first step
    data = {"validation": "quick"}
    settings = Settings.model_validate(
        {"training": {"batch_size": 2, "gradient_accumulation": 1}, "data": data}
    )
    engine = TrainerEngine(settings, base_dir=tmp_path, on_event=change_after_the_first_step)
    engine.load()

    with pytest.raises(ValueError, match="changed while it was being trained"):
        engine.run_job(file)
