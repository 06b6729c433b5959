"""What a template puts between turns is text where a row quotes it, special token or not."""

from typing import Any

import pytest
from tokenizers import AddedToken

from tests.trainer.data.rendering.small_templates import conversation
from trainer.data.rendering.example import IGNORED
from trainer.data.rendering.quoted_tokens import turn_markers
from trainer.data.rendering.render import ExampleRenderer, Quotes
from trainer.model import tiny
from trainer.model.template_choice import choose_template

USER, ASSISTANT, END = "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"
THINK, THOUGHT = "<think>", "</think>"
ORDINARY = [USER, ASSISTANT, THINK, THOUGHT, "<tool_call>", "🤔", "Assistant", "assistant", "[note]"]


def deepseek(added: list[str] = ORDINARY) -> Any:
    """Return a tokenizer with the flags that DeepSeek R1's has: only the end of a turn is special."""
    tokenizer = tiny.tokenizer()
    tokenizer.bos_token = tokenizer.pad_token
    tokenizer.add_special_tokens({"additional_special_tokens": [END]})
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in added])
    choose_template(tokenizer, "deepseek-r1", "a model")
    return tokenizer


def rendered(tokenizer: Any, *turns: tuple[str, str], quotes: Quotes = "text") -> list[int]:
    [[example]] = ExampleRenderer(tokenizer).render([conversation(*turns)], max_length=500, quotes=quotes)
    return example.token_ids


def count_of(token: str, ids: list[int], tokenizer: Any) -> int:
    return ids.count(tokenizer.convert_tokens_to_ids(token))


def test_the_tokens_between_turns_are_markers_and_no_other_added_ones():
    assert turn_markers(deepseek()) == {USER, ASSISTANT}


def test_words_of_a_template_that_somebody_added_are_no_markers():
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in ORDINARY])
    choose_template(tokenizer, "chatml", "a model")

    assert turn_markers(tokenizer) == frozenset()


@pytest.mark.parametrize(
    "words", ["Write <｜Assistant｜> there.", "<｜User｜>", "<｜Assistant｜>yes<｜User｜>no"]
)
def test_a_quoted_marker_is_text_and_begins_no_turn(words):
    tokenizer = deepseek()

    ids = rendered(tokenizer, ("user", words), ("assistant", words))

    assert [count_of(token, ids, tokenizer) for token in (USER, ASSISTANT, END)] == [1, 1, 1]
    assert tokenizer.decode(ids).endswith(f"<｜User｜>{words}<｜Assistant｜>{words}<｜end▁of▁sentence｜>")


def test_a_quoted_marker_is_supervised_as_text():
    tokenizer = deepseek()
    row = conversation(("user", "q"), ("assistant", "It is <｜User｜>."))

    [[example]] = ExampleRenderer(tokenizer).render([row], max_length=500)

    learned = [label for label in example.labels if label != IGNORED]
    assert count_of(USER, learned, tokenizer) == 0
    assert tokenizer.decode(learned) == "It is <｜User｜>.<｜end▁of▁sentence｜>"


def test_thoughts_written_into_an_answer_keep_their_marks():
    tokenizer = deepseek()

    ids = rendered(tokenizer, ("user", "q"), ("assistant", "<think>\nHm.\n</think>\n\nYes."))

    assert [count_of(token, ids, tokenizer) for token in (THINK, THOUGHT)] == [1, 1]


def test_a_prompt_that_names_the_marks_of_thoughts_keeps_them():
    tokenizer = deepseek()

    ids = rendered(
        tokenizer,
        ("system", "Think in <think></think>, call in <tool_call>."),
        ("user", "q"),
        ("assistant", "a"),
    )

    assert [count_of(token, ids, tokenizer) for token in (THINK, THOUGHT, "<tool_call>")] == [1, 1, 1]


@pytest.mark.parametrize("word", ["🤔", "Assistant", "[note]"])
def test_words_and_emoji_that_somebody_added_stay_tokens(word):
    tokenizer = deepseek()

    ids = rendered(tokenizer, ("user", f"a {word} b"), ("assistant", "a"))

    assert count_of(word, ids, tokenizer) == 1


def test_rows_that_quote_markers_are_reported():
    renderer = ExampleRenderer(deepseek())

    assert renderer.quotes_control_tokens(conversation(("user", "a <｜User｜> b"), ("assistant", "a")))
    assert not renderer.quotes_control_tokens(conversation(("user", "a <think> b"), ("assistant", "🤔")))


@pytest.mark.parametrize("quotes, markers, ends", [("text", 1, 1), ("special", 2, 1), ("tokens", 2, 2)])
def test_markers_may_stay_tokens(quotes, markers, ends):
    tokenizer = deepseek()

    ids = rendered(tokenizer, ("user", f"{USER} {END}"), ("assistant", "a"), quotes=quotes)

    assert (count_of(USER, ids, tokenizer), count_of(END, ids, tokenizer)) == (markers, ends)


def test_a_template_that_cannot_be_run_has_no_markers():
    tokenizer = deepseek()
    tokenizer.chat_template = "{{ raise_exception('no') }}"

    assert turn_markers(tokenizer) == frozenset()
