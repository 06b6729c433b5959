"""A file is forgotten around a merge of the adapter: after it as ever, before it by going back over it."""

import gc
from dataclasses import replace

import pytest
from transformers import AutoModelForCausalLM

from daemon.client import Client
from daemon.jobs.consolidation import order_consolidation
from daemon.jobs.forgetting import CannotForget
from daemon.jobs.wishes import Requeue
from tests.forget.histories import Life, RandomHistory, Turn
from tests.shallow import build_shallow
from tests.trainer.engine_rig import PEFT_IS_BEHIND
from trainer.forgetting.backups import ELSEWHERE
from trainer.protocol.files import read_json
from trainer.protocol.job import Priority
from trainer.protocol.layout import Layout
from trainer.session import merged_model
from trainer.session.consolidation import consolidate

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

TRAINED = ("step", "tokens", "cursors", "stretches", "validation_loss")
HISTORY = RandomHistory(
    seed=1,
    num_rows=(4, 4, 4),
    priorities=(Priority.NORMAL,) * 3,
    turns=(Turn(0), Turn(1), Turn(2)),
    settings={
        "training": {
            "method": "lora",
            "lora_rank": 4,
            "batch_size": 2,
            "gradient_accumulation": 1,
            "micro_batch_tokens": 64,
            "learning_rate": 1e-2,
            "warmup_steps": 0,
            "cpu_threads": 1,
            "device": "cpu",
        },
        "checkpoints": {"background": "never", "group_commit_s": 0.0},
    },
    forgotten=(1,),
)


@pytest.fixture(autouse=True)
def quick_trial(monkeypatch):
    for name, number in (("ROWS", 4), ("PROMPTS", 1), ("ANSWER_TOKENS", 2)):
        monkeypatch.setattr(merged_model, name, number)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    return build_shallow(tmp_path_factory.mktemp("consolidated") / "base", dropout=0.1)


class MergingLife(Life):
    """Trains turns, and merges the adapter between them."""

    def train(self, *turns):
        self.history = replace(self.history, turns=turns)
        self.live()
        gc.collect()  # as a worker that has left, this process must have no file of a base model open

    def merge(self):
        settings = self.settings.model_dump(mode="json")
        consolidate(
            order_consolidation(self.layout, settings, clock=self._clock),
            tell=lambda words: None,
            clock=self._clock,
        )

    @property
    def bases(self):
        return [path.name for path in sorted((self.layout.models / "bases").glob("*"))]


def assert_trained_alike(life, other):
    ours, theirs = life.result(), other.result()
    weights = [name for name in ours if name not in ("finished", "replayed", "samples", "ended_files")]
    assert {name: ours[name] for name in weights} == {name: theirs[name] for name in weights}
    for each in (life, other):
        each.ledger.close()


def test_a_file_from_after_the_merge_is_forgotten_beside_the_merged_model(tmp_path, base_model):
    life, other = (MergingLife(Layout(tmp_path / name), HISTORY, base_model) for name in ("with", "without"))
    for each, after in ((life, (Turn(1), Turn(2))), (other, (Turn(2),))):
        each.train(Turn(0))
        each.merge()
        each.train(*after)

    forgot = life.forget(1)

    assert forgot.branch.from_step == 2
    assert (life.bases, life.manifest.own_base) == (other.bases, f"bases/{other.bases[0]}")
    model = life.layout.models / "current_model"
    named = read_json(model / "adapter_config.json")["base_model_name_or_path"]
    assert named == str(life.layout.models / life.manifest.own_base)
    AutoModelForCausalLM.from_pretrained(model)
    assert_trained_alike(life, other)


def test_a_file_from_before_the_merge_is_forgotten_by_going_back_over_it(tmp_path, base_model):
    life = MergingLife(Layout(tmp_path / "with"), HISTORY, base_model)
    life.train(Turn(0), Turn(1))
    life.merge()
    life.train(Turn(2))
    other = MergingLife(Layout(tmp_path / "without"), HISTORY, base_model)
    other.train(Turn(0), Turn(2))

    with pytest.raises(CannotForget, match="training_models rollback --to v001 --requeue"):
        life.write_order(1)
    client, again = Client(life.layout.base), Requeue(is_wanted=True)
    rollbacks = client.rollbacks
    rollbacks.carry_out(
        rollbacks.plan_to(client.models.find("v001"), again), reason="to forget", requeue=again
    )
    life.follow()
    life.train(Turn(2))
    kept = life.bases
    forgot = life.forget(1)

    assert forgot.unreached == (ELSEWHERE,)

    assert (len(kept), life.bases) == (1, [])
    assert life.manifest.own_base is None
    assert not (life.layout.models / "versions" / "v001").exists()
    assert_trained_alike(life, other)
