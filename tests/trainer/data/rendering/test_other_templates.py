"""What becomes of a conversation with templates that do it another way, or cannot be used."""

from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from tests.trainer.data.rendering.small_templates import (
    DEFAULT_SYSTEM,
    ENDED_BY_THE_NEXT,
    FORGETFUL,
    NO_LINE_END,
    NO_MARKER,
    SPACED,
    conversation,
    learned,
    render,
    with_template,
)
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import OtherTemplate
from trainer.data.rendering.render import (
    IGNORED,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.data.rendering.ways_out import NO_WAY_OUT
from trainer.model import tiny
from trainer.model.template_choice import PLAIN_CHATML
from trainer.model.training_templates import TemplateInUse


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny.tokenizer()


# ---- other templates


@pytest.mark.parametrize(
    "template, answer, expected",
    [
        (NO_LINE_END, "ok", "ok<|im_end|>"),
        (DEFAULT_SYSTEM, "ok", "ok<|im_end|>"),
    ],
)
@pytest.mark.parametrize("question", [[("user", "q")], []])
def test_templates_may_end_a_turn_as_they_like(template, answer, expected, question):
    tokenizer = with_template(template)

    example = render(conversation(*question, ("assistant", answer), ("user", "r")), tokenizer)

    assert learned(example, tokenizer) == [expected]


def test_the_marks_of_a_training_template_are_learned_and_those_of_any_other_are_refused():
    tokenizer = with_template(NO_LINE_END.replace("m['content']", "'final: ' + m['content']"))
    row = conversation(("user", "q"), ("assistant", "a"))

    with pytest.raises(UnusableTemplate, match=r"of its own before the words of messages\[1\]"):
        render(row, tokenizer)
    tokenizer.training_template_in_use = TemplateInUse("0" * 64, may_begin_with_marks=True)

    assert learned(render(row, tokenizer), tokenizer) == ["final: a<|im_end|>"]


def test_a_refusal_names_the_training_template_that_fits():
    tokenizer = with_template(NO_MARKER)
    gemma = OtherTemplate('set model.chat_template to "gemma"', PLAIN_CHATML, "<|im_end|>", None)
    tokenizer.find_other_templates = lambda: [gemma]

    with pytest.raises(UnusableTemplate) as refusal:
        render(conversation(("user", "q"), ("assistant", "a"), ("user", "r")), tokenizer)

    assert refusal.value.with_way_out() == f'{refusal.value.reason}; set model.chat_template to "gemma"'


def test_a_template_from_which_nobody_could_learn_to_stop_is_refused():
    with pytest.raises(UnusableTemplate, match=r"ends messages\[1\] with no token of the vocabulary"):
        render(conversation(("user", "q"), ("assistant", "a"), ("user", "r")), with_template(NO_MARKER))


@pytest.mark.parametrize("is_last", [True, False])
def test_a_turn_that_the_next_ones_token_ends_is_learned_with_that_token(is_last):
    tokenizer = with_template(ENDED_BY_THE_NEXT)
    following = [] if is_last else [("user", "r"), ("assistant", "b")]

    example = render(conversation(("user", "q"), ("assistant", "a"), *following), tokenizer)

    assert learned(example, tokenizer) == ["a<|im_start|>"] + ["b<|im_start|>"] * (not is_last)


def test_what_follows_the_end_of_turn_is_not_learned():
    tokenizer = with_template(NO_LINE_END + "{{ 'assistant:\\n' if not add_generation_prompt }}")

    example = render(conversation(("user", "q"), ("assistant", "a")), tokenizer)

    assert learned(example, tokenizer) == ["a<|im_end|>"]


def test_thoughts_may_name_the_end_of_a_turn_and_the_words_too():
    tokenizer = with_template(NO_LINE_END.replace("m['content']", "(m.thinking or '') + m['content']"))
    thinks = Message("assistant", "So <|im_end|> it is.", extra={"thinking": "So <|im_end|>, or not?"})

    example = render(Conversation((Message("user", "q"), thinks)), tokenizer)

    assert learned(example, tokenizer) == ["So <|im_end|>, or not?So <|im_end|> it is.<|im_end|>"]


def test_a_space_before_the_first_words_belongs_to_them():
    tokenizer = with_template(SPACED)

    example = render(conversation(("assistant", "would it?"), ("user", "q")), tokenizer)

    assert learned(example, tokenizer) == [" would it?<|im_end|>"]


def test_the_line_end_after_the_end_of_turn_is_not_learned(tokenizer):
    example = render(conversation(("user", "q"), ("assistant", "a")), tokenizer)

    assert tokenizer.decode(example.token_ids).endswith("a<|im_end|>\n")
    assert [label == IGNORED for label in example.labels[-3:]] == [False, False, True]


def test_a_token_that_begins_before_the_answer_is_not_the_assistants():
    tokenizer = with_template(
        NO_LINE_END.replace("':\\n'", "': w'").replace("'assistant:\\n'", "'assistant: w'")
    )
    assert " would" in tokenizer.decode(tokenizer.encode(" would")[:1])

    example = render(conversation(("user", "q"), ("assistant", "ould be")), tokenizer)

    assert learned(example, tokenizer) == [" be<|im_end|>"]


def test_a_template_that_rewrites_earlier_turns_is_refused():
    tokenizer = with_template(FORGETFUL)

    with pytest.raises(UnusableTemplate, match=r"rewrites messages\[1\] or what stands before it"):
        render(conversation(("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")), tokenizer)


def test_a_template_that_puts_words_into_the_assistants_mouth_is_refused():
    tokenizer = with_template(FORGETFUL)

    with pytest.raises(UnusableTemplate, match=r"before the words of messages\[1\]") as refusal:
        render(conversation(("user", "q"), ("assistant", "a")), tokenizer)

    assert refusal.value.with_way_out() == f"{refusal.value}; {NO_WAY_OUT}"


def test_a_refusal_shows_the_place_where_the_texts_part():
    turns = ("user", "q"), ("assistant", "a"), ("user", "r\x1b[2J"), ("assistant", "b")

    with pytest.raises(UnusableTemplate) as refusal:
        render(conversation(*turns), with_template(FORGETFUL))

    assert (
        r'at character 29 expected "|im_end|>assistant:\n<think></think>a<|im_end|>", '
        r'found "|im_end|>assistant:\na<|im_end|>user:\nr\x1b[2J<|im_'
    ) in str(refusal.value)


def test_turns_that_are_not_learned_may_be_rewritten():
    row = conversation(("user", "q"), ("assistant", "a"), ("user", "r"))
    untrained = replace(row, messages=tuple(replace(one, is_trained=False) for one in row.messages))

    example = render(untrained, with_template(FORGETFUL))

    assert example.supervised_tokens == 0


@pytest.mark.parametrize(
    "template, told",
    [
        ("{% for m in messages %}{{ m['content'].x.y }}{% endfor %}", "has no attribute"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ 1 // 0 }}", "division"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_a_template_that_fails_refuses_the_conversation(template, told):
    with pytest.raises(
        UnrenderableConversation, match=f"the chat template refuses the conversation: .*{told}"
    ):
        render(conversation(("user", "q"), ("assistant", "a")), with_template(template))
