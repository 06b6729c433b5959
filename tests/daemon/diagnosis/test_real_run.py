"""The embedded model itself, trained at a rate that it cannot bear."""

import pytest

from daemon.client import Client
from daemon.diagnosis.findings import Illness
from daemon.files.identity import identity_of
from daemon.ledger.ledger import Ledger
from tests.support import FakeClock, job_for, rows, write_jsonl


@pytest.mark.long
def test_a_rate_of_one_half_is_too_high_for_the_embedded_model(layout, tmp_path):
    import torch  # here, because tests without a model need not wait for it

    from tests.shallow import build_shallow
    from tests.trainer.engine_rig import settings_with, train

    torch.set_num_threads(1)
    path = write_jsonl(tmp_path / "a.jsonl", rows(80))
    job = job_for(path)
    training = {"learning_rate": 0.5, "warmup_steps": 0, "batch_size": 1}
    settings = settings_with(
        build_shallow(tmp_path / "tiny"), training=training, data={"validation": "quick"}
    )
    _, heard = train(layout.base, settings, [(job, path)])
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.add_job(job, identity_of(path.stat()), "completed")
    ledger.freeze_settings(job.id, settings.model_dump(mode="json"))
    ledger.add_steps(heard.steps)
    ledger.close()

    [finding] = Client(layout.base).health.diagnose().findings

    assert finding.illness is Illness.RATE_TOO_HIGH
    [rate, *_] = finding.changes
    assert (rate.setting, rate.now, rate.suggested) == ("training.learning_rate", 0.5, 0.05)
    assert all(step.waited_s is not None for step in heard.steps)
