"""A file is forgotten where a gate judges: its verdicts stand, and it judges nothing a second time."""

from dataclasses import replace

import pytest

from tests.forget.histories import Life, RandomHistory, Turn
from tests.shallow import build_shallow
from trainer.protocol.job import Priority
from trainer.protocol.layout import Layout
from trainer.protocol.messages import GateJudged

SETTINGS = {
    "training": {"batch_size": 2, "gradient_accumulation": 1, "micro_batch_tokens": 64, "cpu_threads": 1},
    "validation": {"file": "validation.jsonl", "interval_steps": 1_000},
    "checkpoints": {"background": "never", "interval_steps": 1, "keep_last": 20},
}
TRAINED = ("weights", "optimizer", "step", "tokens", "samples", "cursors", "finished", "ended_files")


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    return build_shallow(tmp_path_factory.mktemp("model") / "base", dropout=0.1)


def history(*turns, group_rows):
    gate = {"enabled": True, "min_rows": 2, "max_loss_increase": 1e6, "group_rows": group_rows}
    return RandomHistory(
        seed=1,
        num_rows=(4, 4, 4, 2),
        priorities=(Priority.NORMAL,) * 4,
        turns=turns,
        settings={**SETTINGS, "gate": gate},
        forgotten=(1,),
    )


class GatedLife(Life):
    """Notes the verdicts, and may end in the middle, as when the worker makes room."""

    def hear(self, event):
        super().hear(event)
        if isinstance(event, GateJudged):
            self.verdicts.append((event.verdict.outcome, [file.name for file in event.verdict.files]))

    def live(self, *, is_cut_short=False):
        self.verdicts = []
        self.is_cut_short = is_cut_short
        super().live()

    def go_on(self, *turns):
        self.history = replace(self.history, turns=turns)
        self.live()


def names(*numbers):
    return [f"file-{number}.jsonl" for number in numbers]


def assert_trained_alike(life, other):
    ours, theirs = life.result(), other.result()
    assert {name: ours[name] for name in TRAINED} == {name: theirs[name] for name in TRAINED}
    for each in (life, other):
        each.ledger.close()


def test_the_model_is_what_it_would_be_without_the_file_behind_the_same_gate(tmp_path, base_model):
    lived = history(Turn(0), Turn(1), Turn(2, 1, "waits"), Turn(3), Turn(2), group_rows=1)
    life = GatedLife(Layout(tmp_path / "with"), lived, base_model)
    life.live()
    judged = life.verdicts

    gate = life.settings.gate.model_copy(update={"min_rows": 1_000})  # so a gate would refuse to begin
    life.settings = life.settings.model_copy(update={"gate": gate})
    forgot = life.forget(1)

    other = GatedLife(Layout(tmp_path / "without"), lived.without(1), base_model)
    other.live()
    life.jobs.pop(1)
    assert judged == [("passed", names(number)) for number in (0, 1, 3, 2)]
    assert other.verdicts == [("passed", names(number)) for number in (0, 3, 2)]
    assert forgot.unjudged == ()
    assert_trained_alike(life, other)


def test_files_that_waited_for_their_verdict_are_named_and_part_of_the_model(tmp_path, base_model):
    lived = history(Turn(0), Turn(1), Turn(2), Turn(3), group_rows=1_000)
    life = GatedLife(Layout(tmp_path / "with"), lived, base_model)
    life.live(is_cut_short=True)
    assert life.verdicts == []

    forgot = life.forget(1)
    life.go_on()

    other = GatedLife(Layout(tmp_path / "without"), lived.without(1), base_model)
    other.live()
    life.jobs.pop(1)
    assert forgot.unjudged == tuple(names(0, 2, 3))
    assert life.verdicts == []
    assert_trained_alike(life, other)


def test_a_file_in_training_since_before_is_judged_by_what_the_model_was_then(tmp_path, base_model):
    lived = history(Turn(0, 1, "waits"), Turn(1), Turn(2), group_rows=1_000)
    life = GatedLife(Layout(tmp_path / "with"), lived, base_model)
    life.live(is_cut_short=True)

    forgot = life.forget(1)
    life.go_on(Turn(0))

    whole = history(Turn(0, 1, "waits"), Turn(2), Turn(0), group_rows=1_000)
    other = GatedLife(Layout(tmp_path / "without"), whole, base_model)
    other.live()
    life.jobs.pop(1)
    assert forgot.unjudged == tuple(names(2))
    assert life.verdicts == [("passed", names(0))]
    assert_trained_alike(life, other)
