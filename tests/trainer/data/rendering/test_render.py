"""Which tokens are learned. What transformers finds by its own template markers is there to compare with."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.trainer.data.rendering.small_templates import (
    BARE,
    NO_LINE_END,
    TRICKY,
    conversation,
    learned,
    render,
    with_template,
)
from trainer.data.conversation import Conversation, Message, Role
from trainer.data.rendering.render import (
    IGNORED,
    ExampleRenderer,
    render_examples,
)
from trainer.model import tiny
from trainer.model.template_choice import CHATML


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny.tokenizer()


# ---- what is learned


@pytest.mark.parametrize(
    "turns, expected",
    [
        ([("user", "q"), ("assistant", "a")], ["a<|im_end|>"]),
        ([("system", "s"), ("user", "q"), ("assistant", "a")], ["a<|im_end|>"]),
        (
            [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")],
            ["a<|im_end|>", "b<|im_end|>"],
        ),
        ([("user", "q"), ("assistant", "a"), ("assistant", "b")], ["a<|im_end|>", "b<|im_end|>"]),
        ([("assistant", "a"), ("user", "q")], ["a<|im_end|>"]),
        ([("assistant", "b")], ["b<|im_end|>"]),
        ([("user", "q"), ("assistant", "a"), ("tool", "t"), ("user", "r")], ["a<|im_end|>"]),
        (
            [("user", "q"), ("assistant", ""), ("user", "r"), ("assistant", "b")],
            ["<|im_end|>", "b<|im_end|>"],
        ),
        ([("user", "<|im_start|>assistant\nx<|im_end|>\n"), ("assistant", "a")], ["a<|im_end|>"]),
        (
            [("user", "q"), ("assistant", "x<|im_end|>\n<|im_start|>user")],
            ["x<|im_end|>\n<|im_start|>user<|im_end|>"],
        ),
        ([("user", "a<|im_end|>"), ("assistant", "a"), ("user", "a")], ["a<|im_end|>"]),
        ([("user", "🎉"), ("assistant", "日本 🎉")], ["日本 🎉<|im_end|>"]),
        ([("user", "q")], []),
    ],
)
def test_only_what_the_assistant_wrote_and_the_end_of_its_turn_is_learned(tokenizer, turns, expected):
    assert learned(render(conversation(*turns), tokenizer), tokenizer) == expected


def trimming_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of `tiny`, but spaces before a word count as no part of its token."""
    tokenizer = tiny.tokenizer()
    trimming = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    described = json.loads(tokenizer.backend_tokenizer.to_str()) | {"post_processor": trimming}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        chat_template=tokenizer.chat_template,
        eos_token=tokenizer.eos_token,
        clean_up_tokenization_spaces=False,
    )


@pytest.mark.parametrize("content", ["a", " a", "   a", " ", "  ", "\n a", "a ", "a b", " 🎉", "\u00a0a"])
def test_spaces_that_a_tokenizer_gives_to_no_token_do_not_cost_a_turn(tokenizer, content):
    turns = conversation(("user", " q"), ("assistant", content), ("user", " r"), ("assistant", content))

    assert render(turns, trimming_tokenizer()) == render(turns, tokenizer)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["system", "user", "assistant", "tool"]),
            st.sampled_from(TRICKY) | st.text(max_size=9),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_tokens_and_mask_are_those_of_transformers(tokenizer, turns):
    reference = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )

    example = render(conversation(*turns), tokenizer)

    assert all(
        label in (IGNORED, token) for label, token in zip(example.labels, example.token_ids, strict=True)
    )
    if any(token in content for _, content in turns for token in ("<|im_end|>", "<|im_start|>")):
        assert tokenizer.decode(example.token_ids) == tokenizer.decode(reference["input_ids"])
        return  # transformers takes what is quoted for the tokens themselves
    assert example.token_ids == reference["input_ids"]
    assert [int(label != IGNORED) for label in example.labels] == reference["assistant_masks"]
    assert example.supervised_tokens == sum(reference["assistant_masks"])
    assert not example.is_truncated


def test_conversations_rendered_together_are_the_same_as_alone(tokenizer):
    conversations = [conversation(("user", text), ("assistant", text * 3)) for text in TRICKY]

    together = render_examples(conversations, tokenizer, max_length=40, overlong="truncate_right")

    assert together == [(render(each, tokenizer, max_length=40),) for each in conversations]


# ---- truncation


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_long_row_is_cut_on_the_right_and_counted(tokenizer, cut):
    whole = render(conversation(("user", "q"), ("assistant", "a")), tokenizer)
    length = len(whole.token_ids) - cut  # from the right: the line end, the end of the turn, the answer

    example = render(conversation(("user", "q"), ("assistant", "a")), tokenizer, max_length=length)

    assert example.token_ids == whole.token_ids[:length]
    assert example.labels == whole.labels[:length]
    assert example.supervised_tokens == [2, 2, 1, 0][cut]
    assert example.is_truncated == (cut > 0)


def test_turns_beyond_the_cut_are_not_learned(tokenizer):
    turns: list[tuple[Role, str]] = [
        ("user", "q"),
        ("assistant", "a"),
        ("user", "r"),
        ("assistant", "b" * 100),
    ]
    length = len(render(conversation(*turns[:3]), tokenizer).token_ids)

    example = render(conversation(*turns), tokenizer, max_length=length)

    assert learned(example, tokenizer) == ["a<|im_end|>"]
    assert len(example.labels) == length


def test_the_first_token_does_not_count_because_nothing_predicts_it():
    tokenizer = with_template(BARE)

    example = render(conversation(("assistant", "")), tokenizer)

    assert example.labels == [tokenizer.eos_token_id]
    assert example.supervised_tokens == 0


# ---- quoted control tokens


@pytest.mark.parametrize("words", ["Write <|im_end|> there.", "<|im_end|>", "<|im_start|>user\nno<|im_end|>"])
def test_a_quoted_control_token_is_text_and_ends_no_turn(tokenizer, words):
    row = conversation(("user", words), ("assistant", words))

    example = render(row, tokenizer)

    ends = [token for token in example.token_ids if token == tokenizer.eos_token_id]
    assert len(ends) == 2, "one for each turn"
    assert learned(example, tokenizer) == [f"{words}<|im_end|>"]


def test_of_quoted_and_own_tokens_that_look_the_same_only_the_quoted_ones_become_text(tokenizer):
    turns: list[tuple[Role, str]] = [
        ("user", "a"),
        ("assistant", "It is short."),
        ("user", "<|im_end|>"),
        ("assistant", "Yes, <|im_end|>."),
    ]

    example = render(conversation(*turns), tokenizer)

    supervised = [label for label in example.labels if label != IGNORED]
    assert supervised.count(tokenizer.eos_token_id) == 2
    assert example.token_ids.count(tokenizer.eos_token_id) == len(turns)
    assert learned(example, tokenizer) == ["It is short.<|im_end|>", "Yes, <|im_end|>.<|im_end|>"]


@pytest.mark.parametrize("words", ['print("<|im_end|>")', "<|im_end|>", 'é\n"<|im_end|><|im_start|>"'])
def test_tokens_quoted_in_arguments_and_schemas_are_text_however_they_are_escaped(words):
    tokenizer = with_template(CHATML)
    parameters = {"type": "object", "properties": {"code": {"type": "string", "description": words}}}
    tool = {"type": "function", "function": {"name": "run", "description": words, "parameters": parameters}}
    call = {"type": "function", "function": {"name": "run", "arguments": {"code": words}}}
    messages = (
        Message("user", "Run it."),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", words, extra={"name": "run"}),
        Message("assistant", "Done."),
    )

    example = render(Conversation(messages, tools=(tool,)), tokenizer)

    supervised = [label for label in example.labels if label != IGNORED]
    assert supervised.count(tokenizer.eos_token_id) == 2
    assert example.token_ids.count(tokenizer.eos_token_id) == 5  # with that of the system's turn


def test_a_token_that_the_template_itself_looks_for_is_no_quote():
    looks = "m['content'].split('<|im_start|>')[-1]"
    tokenizer = with_template(NO_LINE_END.replace("m['content']", looks))

    example = render(
        conversation(("user", "a<|im_start|>b<|im_end|>"), ("assistant", "It is <|im_end|>.")), tokenizer
    )

    assert example.token_ids.count(tokenizer.eos_token_id) == 2
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") not in example.token_ids


def test_a_row_may_quote_very_many(tokenizer):
    row = conversation(("user", "q"), ("assistant", "<|im_end|>" * 300_000))
    started = time.process_time()

    [[example]] = ExampleRenderer(tokenizer).render([row], max_length=10_000_000)

    assert time.process_time() - started < 10  # looking for each from the beginning takes a minute
    assert example.token_ids.count(tokenizer.eos_token_id) == 2


def test_a_plain_text_keeps_its_control_tokens(tokenizer):
    text = Conversation((Message("assistant", "<|im_start|>user\nq<|im_end|>"),), is_plain_text=True)

    example = render(text, tokenizer)

    assert example.token_ids.count(tokenizer.eos_token_id) == 2, "its own, and the end of the text"


def test_quoted_control_tokens_can_be_allowed(tokenizer):
    row = conversation(("user", "q"), ("assistant", "a<|im_end|>b"))

    [[as_text]] = ExampleRenderer(tokenizer).render([row], max_length=100)
    [[as_tokens]] = ExampleRenderer(tokenizer).render([row], max_length=100, quotes="tokens")

    assert as_text.token_ids.count(tokenizer.eos_token_id) == 2
    assert as_tokens.token_ids.count(tokenizer.eos_token_id) == 3
