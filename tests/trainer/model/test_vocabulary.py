"""A vocabulary that grows by a profile's tokens: they are one token each, start alike, and are learned."""

import shutil

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import job_for, row, write_jsonl
from tests.trainer.engine_rig import PEFT_IS_BEHIND, current, loaded, settings_with, train, weights_sha256
from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.render import ExampleRenderer, render_examples
from trainer.model.loading import load_model
from trainer.model.vocabulary import add_tokens
from trainer.profiles.regime3 import END, START

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

LORA = {"method": "lora", "lora_rank": 4, "learning_rate": 1e-2, "warmup_steps": 0}
WORDS = 765  # in the vocabulary of the tiny model, whose embedding has rows to spare
NEW = [WORDS, WORDS + 1]


def growing(folder, *, profile="regime3", **training):
    settings = settings_with(folder, training=training, profile={"name": profile})
    return settings.model_copy(update={"model": settings.model.model_copy(update={"grow_vocabulary": True})})


@pytest.fixture(scope="module")
def exact_folder(tiny_folder):
    """Return the folder of the tiny model with a head of its own, and no rows to spare."""
    folder = tiny_folder.with_name("exact")
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.resize_token_embeddings(WORDS)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 0.9)
    model.save_pretrained(folder)
    for path in tiny_folder.glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(tiny_folder / "chat_template.jinja", folder)
    return folder


@pytest.fixture(params=["tied with spare rows", "untied without"])
def folder(request, tiny_folder, exact_folder):
    return exact_folder if "untied" in request.param else tiny_folder


@pytest.fixture
def answers(tmp_path):
    """Return a file of 7 rows whose answers will be marked."""
    return write_jsonl(tmp_path / "a.jsonl", [row(f"Say {i}.", f"{i} it is.") for i in range(7)])


def test_new_tokens_are_one_each_and_start_as_the_mean_of_the_others(folder):
    model, tokenizer = load_model(folder)
    before = [model.get_input_embeddings().weight.clone(), model.get_output_embeddings().weight.clone()]

    ids = add_tokens(model, tokenizer, (START, END))

    assert tokenizer.encode(f"a{START}b{END}") == [
        *tokenizer.encode("a"),
        ids[0],
        *tokenizer.encode("b"),
        ids[1],
    ]
    assert tokenizer.decode(ids, skip_special_tokens=True) == START + END
    assert model.config.vocab_size == max(len(before[0]), WORDS + 2)
    after = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[:WORDS], old[:WORDS])
        torch.testing.assert_close(new[ids], old[:WORDS].mean(dim=0).expand(2, -1))


def test_tokens_that_are_there_are_not_added_again(tiny_folder):
    model, tokenizer = load_model(tiny_folder)

    first, second = (add_tokens(model, tokenizer, (START, END)) for _ in range(2))

    assert (first, second) == (NEW, [])


def test_the_fast_way_of_rendering_knows_the_new_tokens(tiny_folder):
    model, tokenizer = load_model(tiny_folder)
    add_tokens(model, tokenizer, (START, END))
    conversation = Conversation((Message("user", f"q {START}"), Message("assistant", f"a {START} 5 {END}")))

    [[slow]] = render_examples([conversation], tokenizer, max_length=99)
    [[fast]] = ExampleRenderer(tokenizer).render([conversation], max_length=99)

    assert slow == fast
    assert slow.labels.count(WORDS) == 1
    assert slow.token_ids.count(WORDS) == 2


@pytest.mark.parametrize("training", [{}, LORA], ids=["full", "lora"])
def test_a_start_from_the_base_model_is_the_same_each_time(tmp_path, folder, training):
    torch.manual_seed(1)
    one = loaded(tmp_path / "one", growing(folder, **training)).trainer.model
    torch.manual_seed(2)
    other = loaded(tmp_path / "other", growing(folder, **training)).trainer.model

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("training", [{}, LORA, LORA | {"method": "qlora"}], ids=["full", "lora", "qlora"])
def test_a_stop_changes_no_bit_where_the_vocabulary_has_grown(tmp_path, answers, folder, training):
    if training.get("method") == "qlora":
        pytest.importorskip("bitsandbytes")
    settings = growing(folder, **{"epochs": 2} | training)
    jobs = [(job_for(answers, id="1"), answers)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    train(whole, settings, jobs)
    train(stopped, settings, jobs, stop_at=3)
    train(stopped, settings, jobs)

    assert weights_sha256(stopped) == weights_sha256(whole)
    assert AutoTokenizer.from_pretrained(current(stopped)).encode(START) == NEW[:1]


def test_a_checkpoint_of_all_weights_loads_with_its_tokens(tmp_path, answers, folder):
    engine = loaded(tmp_path, growing(folder))

    engine.run_job(answers)

    model = AutoModelForCausalLM.from_pretrained(current(tmp_path))
    assert AutoTokenizer.from_pretrained(current(tmp_path)).encode(END) == NEW[1:]
    live = engine.trainer.model
    assert torch.equal(model.get_input_embeddings().weight, live.get_input_embeddings().weight)


def test_an_adapter_learns_the_new_tokens_and_no_other_and_loads_with_them(tmp_path, answers, folder):
    engine = loaded(tmp_path, growing(folder, **LORA))
    started = [_rows(engine.trainer.model, of) for of in ("get_input_embeddings", "get_output_embeddings")]

    engine.run_job(answers)

    live = engine.trainer.model.eval()
    learned = [_rows(live, of) for of in ("get_input_embeddings", "get_output_embeddings")]
    for before, after in zip(started, learned, strict=True):
        assert torch.equal(before[:WORDS], after[:WORDS])
        assert (before[NEW] != after[NEW]).any(dim=1).all()
    prompt = torch.tensor([[5, *NEW, 7]])
    model = AutoPeftModelForCausalLM.from_pretrained(current(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(prompt).logits, live(prompt).logits)


def _rows(model, of):
    return getattr(model.get_base_model(), of)().weight.detach().clone()


@pytest.mark.parametrize("training", [{}, LORA], ids=["full", "lora"])
def test_another_profile_may_follow_if_the_vocabulary_has_its_tokens(
    tmp_path, answers, tiny_folder, training
):
    loaded(tmp_path, growing(tiny_folder, **training)).run_job(answers)

    engine = loaded(tmp_path, growing(tiny_folder, profile="plain", **training))

    assert engine.tokenizer.encode(START) == NEW[:1]


@pytest.mark.parametrize("training", [{}, LORA], ids=["full", "lora"])
def test_tokens_that_would_come_too_late_are_the_settings_fault(tmp_path, answers, tiny_folder, training):
    engine = loaded(tmp_path, growing(tiny_folder, profile="plain", **training))
    engine.run_job(answers)
    late = growing(tiny_folder, **training)

    with pytest.raises(BadConfig, match="profile regime3 has the tokens <<ANS_START>>, <<ANS_END>>, but"):
        loaded(tmp_path, late)
    with pytest.raises(BadConfig, match="grows only before the first checkpoint"):
        engine.use(late)


def test_whether_it_grows_is_locked(tmp_path, answers, tiny_folder):
    loaded(tmp_path, growing(tiny_folder)).run_job(answers)

    with pytest.raises(LockedSetting, match=r"model\.grow_vocabulary is false"):
        loaded(tmp_path, settings_with(tiny_folder, profile={"name": "regime3"}))


def test_without_it_the_markers_are_ordinary_text(tmp_path, tiny_folder):
    engine = loaded(tmp_path, settings_with(tiny_folder, profile={"name": "regime3"}))

    assert len(engine.tokenizer.encode(START)) > 1
    assert len(engine.tokenizer) == WORDS
