"""Plain texts, and what the assistant calls."""

import json
import re

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tests.trainer.data.rendering.small_templates import (
    END,
    NO_LINE_END,
    REFUSING,
    TURNS,
    conversation,
    learned,
    render,
    with_template,
)
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.render import (
    UnrenderableConversation,
    UnusableTemplate,
    render_examples,
)
from trainer.model import tiny


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny.tokenizer()


# ---- plain texts, tools and thoughts


def plain(text: str, *, is_trained: bool = True) -> Conversation:
    return Conversation((Message("user", text, is_trained=is_trained),), is_plain_text=True)


def test_a_plain_text_is_learned_whole_with_its_end_and_without_a_template(tokenizer):
    example = render(plain("Once upon 🎉"), with_template(REFUSING))

    assert tokenizer.decode(example.token_ids) == "Once upon 🎉<|im_end|>"
    assert example.labels == example.token_ids


def test_a_plain_text_begins_as_the_tokenizer_begins_texts():
    tokenizer = tiny.tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    assert render(plain("a"), tokenizer).token_ids[0] != tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )

    example = render(plain("a"), tokenizer)

    assert tokenizer.decode(example.token_ids) == "<|im_start|>a<|im_end|>"


def test_a_plain_text_that_is_not_to_be_learned_is_not(tokenizer):
    assert render(plain("a", is_trained=False), tokenizer).supervised_tokens == 0


def test_a_plain_text_needs_an_end():
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = None

    with pytest.raises(UnusableTemplate, match='name one as "eos_token"'):
        render(plain("a"), tokenizer)


@pytest.mark.parametrize("max_length", [4, 7, 100])
def test_a_long_plain_text_is_split_anywhere_and_every_token_is_in_one_piece(tokenizer, max_length):
    whole = render(plain("one two three four 🎉 five six seven"), tokenizer)

    [pieces] = render_examples(
        [plain("one two three four 🎉 five six seven")], tokenizer, max_length=max_length, overlong="split"
    )

    assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
    assert [label for piece in pieces for label in piece.labels] == whole.token_ids
    assert max(len(piece.token_ids) for piece in pieces) <= max_length
    assert not any(piece.is_truncated for piece in pieces)


def test_an_exchange_that_fits_in_no_part_of_a_split_row_is_told_as_cut_off(tokenizer):
    row = conversation(
        ("user", "a"), ("assistant", "b"), ("user", "much too long " * 9), ("assistant", "lost")
    )

    [examples] = render_examples([row], tokenizer, max_length=24, overlong="split")

    assert [learned(example, tokenizer) for example in examples] == [["b<|im_end|>"]]
    assert [example.is_truncated for example in examples] == [True]


def test_an_end_of_text_is_learned_where_nothing_else_ends_a_turn():
    ending = with_template(
        TURNS + "{{ m['content'] }}" + END + "{{ '' if add_generation_prompt else eos_token }}"
    )

    [[example]] = render_examples(
        [conversation(("user", "q\n"), ("assistant", "Yes."))], ending, max_length=99
    )

    assert learned(example, ending) == [f"Yes.{ending.eos_token}"]


def test_a_long_plain_text_is_cut_off_otherwise(tokenizer):
    [[example]] = render_examples([plain("one two three four")], tokenizer, max_length=4)

    assert (len(example.token_ids), example.is_truncated) == (4, True)


CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "cat"}}}
WITH_CALLS = NO_LINE_END.replace(
    "m['content'] + ", "m['content'] + (m['tool_calls'] | tojson if m['tool_calls'] else '') + "
)


def test_what_the_assistant_calls_is_learned_with_its_marks(tokenizer):
    row = Conversation((Message("user", "q"), Message("assistant", "", tool_calls=(CALL,))))

    example = render(row, with_template(WITH_CALLS))

    assert learned(example, tokenizer) == [f"[{json.dumps(CALL)}]<|im_end|>"]


@pytest.mark.parametrize(
    "row, told",
    [
        (
            Conversation((Message("user", "q"), Message("assistant", "", tool_calls=(CALL,)))),
            r"does not show the tool_calls of messages\[1\]",
        ),
        (
            Conversation((Message("user", "q"), Message("assistant", "a")), tools=(CALL,)),
            "does not show the tools; remove the tools with their calls and results",
        ),
    ],
)
def test_a_template_that_knows_no_tools_does_not_hide_them(tokenizer, row, told):
    with pytest.raises(UnrenderableConversation) as refusal:
        render(row, tokenizer)

    assert re.search(told, refusal.value.with_way_out())


def test_words_that_a_template_leaves_out_beside_a_call_are_missed():
    template = NO_LINE_END.replace(
        "m['content']", "(m['tool_calls'] | tojson if m['tool_calls'] else m['content'])"
    )
    row = Conversation((Message("user", "q"), Message("assistant", "Wait.", tool_calls=(CALL,))))

    with pytest.raises(UnrenderableConversation, match=r"leaves out the words of messages\[1\]"):
        render(row, with_template(template))


def test_a_conversation_that_the_template_refuses_says_why():
    with pytest.raises(
        UnrenderableConversation, match="the chat template refuses the conversation: no system"
    ):
        render(conversation(("system", "s"), ("assistant", "a")), with_template(REFUSING))
