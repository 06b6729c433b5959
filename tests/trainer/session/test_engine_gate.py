"""The gate with a real, tiny model: bad files leave no trace, noise is named, and a kill changes nothing."""

import json
import random
import shutil
import time
from dataclasses import dataclass, field

import pytest

from tests.gate.files import BAD, facts, noisy
from tests.support import PowerCut, every_case, job_for, row, write_jsonl
from tests.trainer.engine_rig import LEAVE, Commands, Told, loaded, settings_with, weights_sha256
from trainer.checkpoints.going_back import go_back
from trainer.config.loader import BadConfig
from trainer.evaluation.validation import load_validation_examples
from trainer.protocol.data_report import OUTLIERS
from trainer.protocol.going_back import GoBackOrder
from trainer.protocol.job import Outcome
from trainer.protocol.manifest import JobFate
from trainer.protocol.messages import DataChecked, GateJudged, JobEnded, PreemptJob, StartJob
from trainer.session.engine import TrainerEngine

ROWS = 60
GATE = {"enabled": True, "min_rows": ROWS, "group_rows": 1}
TRAINING = {"learning_rate": 2.5e-3, "warmup_steps": 5, "batch_size": 6}


@pytest.fixture
def base(tmp_path):
    write_jsonl(tmp_path / "validation.jsonl", facts(random.Random(0), ROWS))
    return tmp_path


def gated(tiny_folder, **sections):
    validation = {"file": "validation.jsonl"} | sections.pop("validation", {})
    return settings_with(
        tiny_folder,
        training=TRAINING | sections.pop("training", {}),
        validation=validation,
        gate=GATE | sections.pop("gate", {}),
        **sections,
    )


@dataclass
class Life:
    """What became of some files."""

    told: Told = field(default_factory=Told)
    refused: list[str] = field(default_factory=list)

    @property
    def ended(self):
        return {event.record.job_id: event.record.outcome for event in self.told.of(JobEnded)}


class Overtaking(Commands):
    """Commands that let the file `low` wait once, as soon as it has five steps."""

    is_due = True

    def get(self, timeout_s):
        command = super().get(timeout_s)
        low = self._engine.progress.cursors.get("low")
        if timeout_s != 0 or command or not self.is_due or not low or low.step != 5:
            return command
        self.is_due = False
        return PreemptJob(job_id="low")


def live(base, settings, files, *, kill_at=None):
    """Train files as a daemon has them trained: a refused one is undone, and the others go on.

    Among them, `urgent` overtakes `low`.
    """
    life, waiting = Life(), dict(files)
    while waiting:
        engine = TrainerEngine(settings, base_dir=base, on_event=life.told.append)
        engine.load()
        dumped = settings.model_dump(mode="json")
        overtakes = {"low", "urgent"} <= waiting.keys()
        orders = [
            StartJob(job=job_for(files[name], id=name), path=str(files[name]), settings=dumped)
            for name in [*waiting, *(["low"] if overtakes else [])]
        ]
        judged = len(life.told.of(GateJudged))
        commands = Overtaking if overtakes else Commands
        try:
            engine.run(commands(engine, [*orders, LEAVE], kill_at=kill_at))
        except PowerCut:
            kill_at = None  # what ended, but was in no checkpoint, is given again
        verdicts = [event.verdict for event in life.told.of(GateJudged)[judged:]]
        for verdict in verdicts:
            if verdict.outcome == "refused":
                life.refused += [file.job_id for file in verdict.files]
                undo(base, verdict)
        failed = {name for name, outcome in life.ended.items() if outcome is Outcome.FAILED}
        over = {*finished_in(base), *life.refused, *failed}
        waiting = {name: path for name, path in files.items() if name not in over}
    return life


def undo(base, verdict):
    models = base / "models"
    jobs = tuple(JobFate(job_id=file.job_id, fate="undone") for file in verdict.files)
    target = models / "checkpoints" / verdict.checkpoint
    order = GoBackOrder(base_dir=base, target=target, why="gate", reason=verdict.reason, jobs=jobs)
    go_back(models, order, clock=time.time)


def finished_in(base):
    """Return the jobs that the newest checkpoint has all of."""
    file = base / "models" / "current_model" / "MANIFEST.json"
    if not file.exists():
        return []
    return [record["job_id"] for record in json.loads(file.read_bytes())["progress"]["finished"]]


def files_in(base):
    """Four good files, and one of each bad kind among them."""
    rng = random.Random(1)
    contents = {f"good{number}": facts(rng, ROWS) for number in range(4)}
    contents |= {kind: make(rng, ROWS, facts) for kind, make in BAD.items()}
    order = ["good0", "good1", "constant", "good2", "noise", "shuffled", "good3"]
    return {name: write_jsonl(base / f"{name}.jsonl", contents[name]) for name in order}


def test_bad_files_are_refused_and_the_model_is_as_if_they_had_never_been(base, tiny_folder):
    settings = gated(tiny_folder)
    files = files_in(base)

    life = live(base, settings, files)

    assert life.refused == ["constant", "noise", "shuffled"]
    with_gate = weights_sha256(base)
    shutil.rmtree(base / "models")
    live(base, settings, {name: path for name, path in files.items() if name.startswith("good")})
    assert weights_sha256(base) == with_gate


def test_a_kill_changes_neither_verdicts_nor_weights(base, tiny_folder):
    # Never in the background, as a busy machine would: nobody would wait for that process after a kill
    settings = gated(tiny_folder, checkpoints={"interval_steps": 4, "background": "never"})
    files = {name: path for name, path in files_in(base).items() if name in ("good0", "good1", "constant")}
    uninterrupted = live(base, settings, files)
    weights = weights_sha256(base)

    with every_case() as cases:
        for kill_at in (10, 15, 23, 30):  # the files have ten steps each
            with cases.case(f"killed at step {kill_at}"):
                shutil.rmtree(base / "models")
                killed = live(base, settings, files, kill_at=kill_at)
                assert killed.refused == uninterrupted.refused == ["constant"]
                assert found_in(killed) == found_in(uninterrupted)
                assert weights_sha256(base) == weights


def found_in(life):
    return {(event.verdict.outcome, event.verdict.reason) for event in life.told.of(GateJudged)}


def written(base, **contents):
    """Write files of good rows, or of rows of the kind that is named, and as many as are named."""
    rng, files = random.Random(3), {}
    for name, (kind, number) in contents.items():
        make = BAD[kind] if kind else (lambda rng, number, make: make(rng, number))
        files[name] = write_jsonl(base / f"{name}.jsonl", make(rng, number, facts))
    return files


GOOD, CONSTANT = (None, ROWS), ("constant", ROWS)
OUTLIERS_OFF = {"outlier_rows": 0}  # so few different rows would confuse their detection


@pytest.mark.parametrize(
    "average, low, urgent, refused",
    [("none", CONSTANT, (None, 6), "low"), ("ema", GOOD, CONSTANT, "urgent")],
    ids=["a good one overtakes a bad one", "a bad one overtakes a good one"],
)
def test_of_two_files_one_in_the_middle_of_the_other_the_bad_one_leaves_no_trace(
    base, tiny_folder, average, low, urgent, refused
):
    settings = gated(
        tiny_folder,
        training={"average": average},
        gate=OUTLIERS_OFF,
        checkpoints={"interval_steps": 4, "background": "never"},
    )
    files = written(base, good0=GOOD, good1=GOOD, low=low, urgent=urgent)

    life = live(base, settings, files)

    assert life.refused == [refused]
    weights = weights_sha256(base)
    for kill_at in (25, 28):  # when `low` is about to wait, and in what it gets later or in what overtakes it
        shutil.rmtree(base / "models")
        killed = live(base, settings, files, kill_at=kill_at)
        assert (killed.refused, found_in(killed)) == ([refused], found_in(life))
        assert weights_sha256(base) == weights
    shutil.rmtree(base / "models")
    live(base, settings, {name: path for name, path in files.items() if name != refused})
    assert weights_sha256(base) == weights


def test_a_bad_file_that_the_average_hardly_follows_is_refused(base, tiny_folder):
    settings = gated(tiny_folder, training={"average": "ema", "average_steps": 100}, gate=OUTLIERS_OFF)
    files = written(base, good0=GOOD, good1=GOOD, good2=GOOD, short=("constant", 24))

    life = live(base, settings, files)

    assert life.refused == ["short"]
    [reason] = [reason for outcome, reason in found_in(life) if outcome == "refused"]
    assert reason.startswith("with the last weights, the mean loss of 60 validation rows went from ")
    assert "averaged" not in reason


def test_rows_of_noise_are_named_and_nothing_of_their_file_is_trained(base, tiny_folder):
    settings, rng = gated(tiny_folder, data={"validation": "standard"}), random.Random(2)
    spoilt, lines = noisy(rng, ROWS, 0.2, kind="foreign", make=facts)
    files = {f"good{number}": write_jsonl(base / f"g{number}.jsonl", facts(rng, ROWS)) for number in range(3)}
    files["noisy"] = write_jsonl(base / "noisy.jsonl", spoilt)

    life = live(base, settings, files)

    reports = {event.job_id: event.report for event in life.told.of(DataChecked)}
    [finding] = [finding for finding in reports["noisy"].findings if finding.rule == OUTLIERS]
    assert set(finding.lines) == lines
    [record] = [event.record for event in life.told.of(JobEnded) if event.record.job_id == "noisy"]
    assert (record.outcome, record.steps) == (Outcome.FAILED, 0)
    assert "do not fit among the others" in record.message
    assert "training_queue retry noisy.jsonl --admit" in record.message
    assert [finding for finding in reports["good2"].findings if finding.rule == OUTLIERS] == []


def test_losses_row_by_row_add_up_to_the_loss_of_all(base, tiny_folder):
    settings = gated(tiny_folder)
    engine = loaded(base, settings)
    engine.use(settings)

    measured, added_up = engine.evaluator.measure(settings, global_step=0)

    found = engine.evaluator.validation_loss(settings)
    assert (found.loss, found.rows) == (pytest.approx(added_up.loss, rel=1e-5), ROWS)
    assert len(measured.losses) == ROWS
    rows = load_validation_examples(settings, base, engine.tokenizer)[:5]
    alone = [engine.trainer.mean_loss([example], max_tokens=1000) for example in rows]
    assert measured.losses[:5] == pytest.approx(alone, rel=1e-4)
    assert len(set(measured.losses)) == 6  # there are as many facts


def test_a_question_counts_as_answered_where_generation_answers_it(base, tiny_folder):
    pairs = [(f"Say {name}.", f"{name} it is") for name in ("one", "two", "six", "ten")]
    facts = [row(question, answer) for question, answer in pairs]
    write_jsonl(base / "suite.jsonl", [*facts, row("Say nine.", "purple because under")])
    write_jsonl(base / "train.jsonl", facts * 30)
    settings = gated(
        tiny_folder, validation={"suites": {"facts": "suite.jsonl"}}, gate={"max_loss_increase": 9}
    )
    live(base, settings, {"train": base / "train.jsonl"})
    engine = loaded(base, settings)
    engine.use(settings)

    measured, _ = engine.evaluator.measure(settings, global_step=0)

    [scored] = engine.evaluator.suite_scores(settings, global_step=0, is_wanted=lambda: True)
    assert sum(measured.answers["facts"]) == round(scored.overall.exact_match * 5) > 0
    assert measured.answers["facts"][-1] is False


@pytest.mark.parametrize(
    "sections, message",
    [
        ({"validation": {"file": None}}, "validation.file is null"),
        ({"gate": {"min_rows": ROWS + 1}}, f"{ROWS} of its rows are used"),
        ({"validation": {"max_rows": 5}}, "5 of its rows are used"),
    ],
)
def test_a_gate_without_enough_to_compare_is_refused(base, tiny_folder, sections, message):
    settings = gated(tiny_folder, **sections)
    engine = loaded(base, settings)

    with pytest.raises(BadConfig, match=message):
        engine.use(settings)


def test_without_a_daemon_nothing_can_go_back(base, tiny_folder):
    engine = loaded(base, gated(tiny_folder))

    with pytest.raises(BadConfig, match=r"gate\.enabled is true; expected false with run_job"):
        engine.run_job(base / "validation.jsonl")
