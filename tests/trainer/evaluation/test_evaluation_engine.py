"""Suites and previews with a real, tiny model: right figures, and not a bit of the weights changed."""

from functools import partialmethod
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import job_for, row, rows, write_jsonl
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    assert_same_state,
    current,
    loaded,
    optimizer_state,
    settings_with,
    train,
    weights_sha256,
)
from trainer.config.loader import BadConfig
from trainer.evaluation import generation
from trainer.evaluation.evaluator import (
    MOST_SHOWN_CHARACTERS,
    Evaluator,
    ScoredAnswer,
    growing,
    shown_answer,
)
from trainer.evaluation.questions import Question
from trainer.evaluation.together import go_on_together
from trainer.protocol.messages import Evaluated, PreviewMade, SuiteScored

PROMPT = "Say 3."
EVERYTHING = {
    "validation": {"file": "validation.jsonl", "suites": {"sums": "sums.jsonl"}, "interval_steps": 1},
    "previews": {"prompts": [PROMPT], "interval_steps": 1, "max_new_tokens": 5, "max_seconds": 600},
    "monitoring": {"max_overhead_percent": 100},
}


PATIENT = {"max_seconds": 600}


def write_files(base_dir):
    write_jsonl(base_dir / "validation.jsonl", rows(3, start=50))
    write_jsonl(base_dir / "sums.jsonl", rows(2, start=70))


def learn_one_answer(base_dir, folder, file, **sections):
    """Train until the model knows one answer by heart."""
    write_jsonl(file, [row("What is it?", "a cat")] * 30)
    training = {"epochs": 4, "learning_rate": 3e-3} | sections.pop("training", {})
    settings = settings_with(folder, training=training, **sections)
    engine, told = train(base_dir, settings, [(job_for(file), file)])
    return settings, engine, told


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_weights_are_the_same_to_the_bit_with_and_without_evaluation(
    tmp_path, seven_rows, noisy_folder, temperature
):
    previews = EVERYTHING["previews"] | {"temperature": temperature}
    for name, sections in {"with": EVERYTHING | {"previews": previews}, "without": {}}.items():
        (tmp_path / name).mkdir()
        write_files(tmp_path / name)
        settings = settings_with(noisy_folder, training={"neftune_noise_alpha": 5.0}, **sections)
        _, told = train(tmp_path / name, settings, [(job_for(seven_rows), seven_rows)])
        assert len(told.of(PreviewMade)) == len(told.of(SuiteScored)) == (3 if name == "with" else 0)

    assert weights_sha256(tmp_path / "with") == weights_sha256(tmp_path / "without")
    assert_same_state(optimizer_state(tmp_path / "with"), optimizer_state(tmp_path / "without"))


@pytest.mark.filterwarnings(PEFT_IS_BEHIND)
@pytest.mark.parametrize(
    "training",
    [{}, {"method": "lora", "learning_rate": 6e-3, "lora_rank": 64}, {"activation_checkpointing": "on"}],
    ids=["full", "lora", "checkpointing"],
)
def test_a_preview_is_what_the_checkpoint_answers_by_itself(base_dir, tmp_path, tiny_folder, training):
    previews = {"prompts": ["What is it?", PROMPT], "interval_steps": 40, "max_seconds": 600}
    _, engine, told = learn_one_answer(
        base_dir,
        tiny_folder,
        tmp_path / "a.jsonl",
        training=training,
        previews=previews | {"max_new_tokens": 12},
    )

    model = AutoModelForCausalLM.from_pretrained(current(base_dir)).eval()
    tokenizer = AutoTokenizer.from_pretrained(current(base_dir))
    made = told.of(PreviewMade)
    assert [event.prompt for event in made] == ["What is it?", PROMPT]
    for event in made:
        assert event.text == answer_of(model, tokenizer, event.prompt, tokens=12)
    assert made[0].text == "a cat"
    assert made[0].ended_by == "end"
    assert engine.trainer.model.training


def answer_of(model, tokenizer, prompt, *, tokens):
    """Return the likeliest answer, computed without a cache, one token after the other."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    first = len(ids)
    with torch.no_grad():
        while len(ids) < first + tokens:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                return tokenizer.decode(ids[first:-1])
    return tokenizer.decode(ids[first:])


def test_a_suite_counts_right_answers_by_difficulty(base_dir, tmp_path, tiny_folder):
    questions = [
        row("What is it?", "a cat") | {"metadata": {"difficulty": "easy"}},
        {
            "messages": [{"role": "user", "content": "What is it?"}],
            "metadata": {"answer": "a dog", "difficulty": 3},
        },
        row("What is it?", "something") | {"metadata": {"answer": "a cat"}},
    ]
    write_jsonl(base_dir / "sums.jsonl", questions)

    _, _, told = learn_one_answer(
        base_dir, tiny_folder, tmp_path / "a.jsonl", validation={"suites": {"sums": "sums.jsonl"}}
    )

    [scored] = told.of(SuiteScored)
    assert (scored.global_step, scored.suite, scored.overall.rows) == (40, "sums", 3)
    assert scored.overall.exact_match == pytest.approx(2 / 3)
    assert [(answer.prompt, answer.expected, answer.text, answer.is_right) for answer in scored.answers] == [
        ("What is it?", "a cat", "a cat", True),
        ("What is it?", "a dog", "a cat", False),
        ("What is it?", "a cat", "a cat", True),
    ]
    assert [answer.difficulty for answer in scored.answers] == ["easy", "3", None]
    assert {name: score.exact_match for name, score in scored.by_difficulty.items()} == {
        "easy": 1.0,
        "3": 0.0,
    }
    assert scored.by_difficulty["3"].loss > scored.by_difficulty["easy"].loss > 0


class Impatient:
    """A clock that goes on by a second each time somebody looks at it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def previews_of(engine, settings, **evaluator):
    """Return the previews of a model as it is."""
    asked = Evaluator(
        Path("/nowhere"), trainer=lambda: engine.trainer, max_tokens=lambda settings: 1000, **evaluator
    )
    asked.load(settings)
    return list(asked.previews(settings, global_step=5, is_wanted=lambda: True))


def test_only_the_beginning_of_a_long_question_is_kept():
    question = Question(shown="q" * 9_999, token_ids=[], answer="a" * 9_999, right=("a",))

    kept = shown_answer(question, "t" * 9_999, ScoredAnswer(None, {"exact_match": 0.0}, 1.0, 1))

    assert {len(text) for text in (kept.prompt, kept.expected, kept.text)} == {MOST_SHOWN_CHARACTERS + 1}


def test_no_answer_reaches_beyond_the_length_that_is_trained(base_dir, tiny_folder):
    previews = {"prompts": [PROMPT], "max_new_tokens": 1000, "max_seconds": 600}
    settings = settings_with(tiny_folder, data={"max_length": 24}, previews=previews)
    engine = loaded(base_dir, settings)

    [made] = previews_of(engine, settings)

    tokenizer = engine.trainer.processing_class
    fresh = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    text = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    room = 24 - len(tokenizer([text], add_special_tokens=False)["input_ids"][0])
    assert made.ended_by == "tokens"
    assert made.text == answer_of(fresh, tokenizer, PROMPT, tokens=room)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_to_answer_compiles_nothing(base_dir, tiny_folder, monkeypatch):
    # What is compiled is counted; that it becomes machine code takes half a minute and changes no number
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="eager"))
    previews = {"prompts": [PROMPT], "max_new_tokens": 4, "max_seconds": 600}
    settings = settings_with(tiny_folder, training={"compile": True}, previews=previews)
    engine = loaded(base_dir, settings)
    counters = torch._dynamo.utils.counters
    assert counters["frames"]["total"] > 0, "to load the model takes a step, with layers that are compiled"
    counters.clear()

    [made] = previews_of(engine, settings)

    fresh = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    assert made.text == answer_of(fresh, engine.trainer.processing_class, PROMPT, tokens=4)
    assert counters["frames"]["total"] == 0


def rounds_of(base_dir, folder, rounds, **previews):
    """Return the previews of several rounds, and the clock that passes a second whenever it is looked at."""
    prompts = [f"Say {number}." for number in range(5)]
    settings = settings_with(folder, previews={"prompts": prompts} | previews)
    engine, clock = loaded(base_dir, settings), Impatient()
    evaluator = Evaluator(
        Path("/nowhere"),
        trainer=lambda: engine.trainer,
        max_tokens=lambda settings: 1000,
        clock=clock,
    )
    evaluator.load(settings)
    return [
        list(evaluator.previews(settings, global_step=5, is_wanted=lambda: True)) for _ in range(rounds)
    ], clock


@pytest.mark.parametrize("max_seconds", [0.5, 12.0])
def test_no_round_of_previews_is_longer_than_it_may_be(base_dir, tiny_folder, max_seconds):
    [made], clock = rounds_of(base_dir, tiny_folder, 1, max_seconds=max_seconds, max_new_tokens=500)

    assert [one.ended_by for one in made] == (["time"] if max_seconds > 1 else [])
    assert clock.now <= max_seconds + 5  # looked at a few times more than it had seconds


def test_prompts_share_the_time_in_turn_and_no_answer_that_is_cut_off_is_measured(base_dir, tiny_folder):
    rounds, _ = rounds_of(base_dir, tiny_folder, 4, max_seconds=20.0, max_new_tokens=4)

    asked = [[int(one.prompt[4]) for one in made] for made in rounds]
    assert all(1 < len(numbers) < 5 for numbers in asked)
    flat = [number for numbers in asked for number in numbers]
    assert flat == [number % 5 for number in range(len(flat))]
    assert all(one.ended_by != "time" for made in rounds for one in made)


def test_at_a_temperature_answers_differ_by_step_and_are_the_same_when_repeated(base_dir, tiny_folder):
    previews = {"prompts": [PROMPT], "max_new_tokens": 8, "temperature": 2.0, "max_seconds": 600}
    settings = settings_with(tiny_folder, previews=previews)
    engine = loaded(base_dir, settings)
    engine.use(settings)

    def texts(step):
        made = engine.evaluator.previews(settings, global_step=step, is_wanted=lambda: True)
        return [one.text for one in made]

    assert texts(5) == texts(5)
    assert texts(5) != texts(6)


@pytest.mark.filterwarnings(PEFT_IS_BEHIND)
@pytest.mark.parametrize("training", [{}, {"method": "lora", "lora_dropout": 0.9}], ids=["full", "lora"])
def test_suites_and_previews_are_the_same_one_by_one(base_dir, tiny_folder, monkeypatch, training):
    write_jsonl(base_dir / "sums.jsonl", [row("x " * number, "y " * (7 - number)) for number in range(1, 7)])
    settings = settings_with(
        tiny_folder,
        training=training,
        data={"max_length": 40},
        validation={"suites": {"sums": "sums.jsonl"}, "suite_max_new_tokens": 9},
        previews={"prompts": ["x " * number for number in range(1, 6)], "max_new_tokens": 9} | PATIENT,
    )
    engine = loaded(base_dir, settings)
    engine.use(settings)

    def measured():
        heard = []
        monkeypatch.setattr(engine.evaluator, "_metrics", lambda question, text: noted(heard, text))
        scores = engine.evaluator.suite_scores(settings, global_step=1, is_wanted=lambda: True)
        previews = engine.evaluator.previews(settings, global_step=1, is_wanted=lambda: True)
        return list(scores), [facts(made) for made in previews], heard

    batches = []

    def spy(model, rows, *arguments, **options):
        batches.append(len(rows))
        go_on_together(model, rows, *arguments, **options)

    monkeypatch.setattr(generation, "go_on_together", spy)

    together = measured()
    engine.evaluator._next_preview = 0
    monkeypatch.setattr(generation, "tolerance_of", lambda model: None)

    assert together == measured()
    assert batches == [6, 2, 2], "the suite; the second and third prompt; the last two"
    assert len(together[1]) == 5
    assert len(together[2]) == 11


def noted(heard, text):
    heard.append(text)
    return {"exact_match": float(len(text))}


def test_nothing_is_dropped_while_questions_are_answered(base_dir, tiny_folder, monkeypatch):
    write_files(base_dir)
    settings = settings_with(tiny_folder, **EVERYTHING)
    engine = loaded(base_dir, settings)
    engine.use(settings)
    monkeypatch.setattr(generation, "tolerance_of", lambda model: None)
    modes = []
    monkeypatch.setattr(engine.trainer, "tick", lambda: modes.append(engine.trainer.model.training))

    assert list(engine.evaluator.suite_scores(settings, global_step=1, is_wanted=lambda: True))

    assert len(modes) > 2
    assert not any(modes)


@pytest.mark.parametrize(
    "number, grows, expected",
    [
        (0, True, []),
        (1, True, [(0, 1)]),
        (8, True, [(0, 1), (1, 2), (3, 4), (7, 8)]),
        (3, False, [(0, 1), (1, 1), (2, 1)]),
    ],
)
def test_as_many_prompts_are_answered_at_once_as_were_answered_before(number, grows, expected):
    assert list(growing(number, grows=grows)) == expected


@pytest.mark.parametrize("questions", [1, 40])
def test_somebody_who_waits_is_noticed_while_losses_are_computed(base_dir, tiny_folder, questions):
    write_jsonl(base_dir / "sums.jsonl", rows(questions, start=70))
    settings = settings_with(
        tiny_folder, validation={"suites": {"sums": "sums.jsonl"}, "suite_max_new_tokens": 1}
    )
    engine = loaded(base_dir, settings)
    engine.use(settings)
    asked = []

    def is_wanted():
        asked.append(engine.trainer.model.training)
        return asked.count(True) <= 1  # the model is in training mode between answers and losses

    scores = list(engine.evaluator.suite_scores(settings, global_step=1, is_wanted=is_wanted))

    assert [score.overall.rows for score in scores] == ([1] if questions == 1 else [])


def test_what_nobody_wants_any_more_is_left_without_a_score(base_dir, tiny_folder):
    write_files(base_dir)
    settings = settings_with(tiny_folder, **EVERYTHING)
    engine = loaded(base_dir, settings)
    engine.use(settings)
    answers = iter([True, False])

    scores = engine.evaluator.suite_scores(settings, global_step=1, is_wanted=lambda: next(answers))

    assert list(scores) == []
    assert engine.trainer.model.training


def test_a_preview_file_is_asked_besides_the_prompts_and_its_answers_are_measured(
    base_dir, seven_rows, tiny_folder
):
    write_jsonl(base_dir / "p.jsonl", [row("Say 9.", "9 it is.")])
    previews = {"prompts": [PROMPT], "file": "p.jsonl", "interval_steps": 3, "max_new_tokens": 2}

    _, told = train(
        base_dir, settings_with(tiny_folder, previews=previews), [(job_for(seven_rows), seven_rows)]
    )

    answer = told.of(PreviewMade)[1].text
    assert [(made.prompt, made.metrics) for made in told.of(PreviewMade)] == [
        (PROMPT, {}),
        ("Say 9.", {"exact_match": 0.0, "length_percent": 100 * len(answer) / len("9 it is.")}),
    ]


def test_each_kind_tells_what_it_has_cost(base_dir, seven_rows, tiny_folder):
    write_files(base_dir)

    _, told = train(base_dir, settings_with(tiny_folder, **EVERYTHING), [(job_for(seven_rows), seven_rows)])

    costs = told.of(Evaluated)
    assert [(event.what, event.global_step) for event in costs[:4]] == [
        ("validation", 0),
        ("validation", 1),
        ("suites", 1),
        ("previews", 1),
    ]
    assert all(event.seconds > 0 and event.interval_steps == 1 for event in costs)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "No such file"),
        ([], "it has no rows"),
        ([row(), {"messages": 3}], r"line 2: messages is 3; expected a list"),
        ([row(), {"messages": [{"role": "user", "content": "?"}]}], r"line 2: no message of the assistant"),
        (
            [{"messages": [*row()["messages"], {"role": "user", "content": "?"}]}],
            r"line 1: the last turn is of user, and metadata has no answer; expected rows",
        ),
        (
            [row("so much " * 40, "b")],
            r"line 1 has \d+ tokens, which leaves no room .* data.max_length \(64\)",
        ),
    ],
)
@pytest.mark.parametrize("setting", ["validation.suites.sums", "previews.file"])
def test_a_file_of_questions_that_cannot_be_used_is_the_settings_fault(
    base_dir, seven_rows, tiny_folder, content, message, setting
):
    if content is not None:
        write_jsonl(base_dir / "q.jsonl", content)
    section = {"validation": {"suites": {"sums": "q.jsonl"}}, "previews": {"file": "q.jsonl"}}
    name = setting.partition(".")[0]
    settings = settings_with(tiny_folder, data={"max_length": 64}, **{name: section[name]})

    with pytest.raises(BadConfig, match=rf"{setting} is .*q\.jsonl: {message}"):
        train(base_dir, settings, [(job_for(seven_rows), seven_rows)])


def test_a_prompt_that_leaves_no_room_is_the_settings_fault(base_dir, tiny_folder):
    settings = settings_with(
        tiny_folder, data={"max_length": 32}, previews={"prompts": ["Say 1.", "many words " * 20]}
    )

    with pytest.raises(BadConfig, match=r"previews\.prompts: prompt 2 has \d+ tokens"):
        loaded(base_dir, settings).use(settings)


def test_a_model_that_cannot_generate_is_refused(base_dir, tiny_folder, monkeypatch):
    settings = settings_with(tiny_folder, previews={"prompts": [PROMPT]})
    engine = loaded(base_dir, settings)
    monkeypatch.setattr(type(engine.trainer.model), "can_generate", lambda self: False)

    with pytest.raises(BadConfig, match='a model of type "qwen3" cannot generate text'):
        engine.use(settings)


def test_a_stop_between_evaluations_changes_no_bit_of_the_result(tmp_path, seven_rows, noisy_folder):
    settings = settings_with(noisy_folder, training={"epochs": 2}, **EVERYTHING)
    jobs = [(job_for(seven_rows), seven_rows)]
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name)

    _, whole = train(tmp_path / "whole", settings, jobs)
    _, before = train(tmp_path / "stopped", settings, jobs, stop_at=2)
    _, after = train(tmp_path / "stopped", settings, jobs)

    assert weights_sha256(tmp_path / "stopped") == weights_sha256(tmp_path / "whole")
    for kind in (SuiteScored, PreviewMade):
        expected = {event.global_step: facts(event) for event in whole.of(kind)}
        found = {event.global_step: facts(event) for event in before.of(kind) + after.of(kind)}
        assert expected.keys() - found.keys() == {2}, "who wants it to stop need not wait for answers"
        assert found.items() <= expected.items()


def facts(event):
    return event.model_dump_json(exclude={"seconds"})
