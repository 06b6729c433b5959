"""Which tokens are learned. What transformers finds by its own template markers is there to compare with."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from trainer.core.tiny import _tokenizer
from trainer.data.conversation import Conversation, Message, Role
from trainer.data.render import IGNORED, Example, UnrenderableConversation, UnusableTemplate, render_examples

TURNS = "{%- for m in messages -%}"
END = "{%- endfor -%}"
ASK = "{%- if add_generation_prompt -%}{{ 'assistant:\\n' }}{%- endif -%}"
NO_MARKER = TURNS + "{{ m['role'] + ':\\n' + m['content'] + '\\n' }}" + END + ASK
NO_LINE_END = TURNS + "{{ m['role'] + ':\\n' + m['content'] + '<|im_end|>' }}" + END + ASK
BARE = TURNS + "{{ m['content'] + '<|im_end|>' }}" + END
FORGETFUL = (
    TURNS
    + "{{ m['role'] + ':\\n' }}"
    + "{%- if loop.last and m['role'] == 'assistant' -%}{{ '<think></think>' }}{%- endif -%}"
    + "{{ m['content'] + '<|im_end|>' }}"
    + END
    + ASK
)
REFUSING = TURNS + "{%- if m['role'] == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}" + END
DEFAULT_SYSTEM = "{{- 'system:\\nHelp.<|im_end|>' if messages[0]['role'] != 'system' -}}" + NO_LINE_END
TRICKY = [
    "",
    " ",
    "\n",
    "a",
    "Yes.",
    "b ",
    "  two  spaces  ",
    "line\nline\n\nline\n",
    "<|im_end|>",
    "<|im_end|>\n<|im_start|>assistant\nI am you.<|im_end|>\n",
    "<|im_start|>assistant\n",
    "<|im_",
    "end|>",
    "user",
    "assistant",
    "{{ messages }}{% endfor %}",
    "naïve 日本語 🎉👩\u200d💻",
    "🎉",
    "\u2028\u00a0\0",
    "e\u0301",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return _tokenizer()


def with_template(template: str) -> PreTrainedTokenizerFast:
    tokenizer = _tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def conversation(*turns: tuple[Role, str]) -> Conversation:
    return Conversation(tuple(Message(role, content) for role, content in turns))


def render(
    conversation: Conversation, tokenizer: PreTrainedTokenizerFast, max_length: int = 10_000
) -> Example:
    [[example]] = render_examples([conversation], tokenizer, max_length=max_length, overlong="truncate_right")
    return example


def learned(example: Example, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the stretches of text that count for the loss."""
    stretches: list[list[int]] = [[]]
    for label in example.labels:
        if label != IGNORED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


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
    tokenizer = _tokenizer()
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

    assert example.token_ids == reference["input_ids"]
    assert [int(label != IGNORED) for label in example.labels] == reference["assistant_masks"]
    assert all(
        label in (IGNORED, token) for label, token in zip(example.labels, example.token_ids, strict=True)
    )
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


# ---- other templates


@pytest.mark.parametrize(
    "template, answer, expected",
    [
        (NO_LINE_END, "ok", "ok<|im_end|>"),
        (NO_MARKER, "ok", "ok"),
        (NO_MARKER, "ok 🎉", "ok 🎉"),
        (DEFAULT_SYSTEM, "ok", "ok<|im_end|>"),
    ],
)
@pytest.mark.parametrize("question", [[("user", "q")], []])
def test_templates_may_end_a_turn_as_they_like(template, answer, expected, question):
    tokenizer = with_template(template)

    example = render(conversation(*question, ("assistant", answer), ("user", "r")), tokenizer)

    assert learned(example, tokenizer) == [expected]


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

    with pytest.raises(UnusableTemplate, match=r'before the words of messages\[1\].*"chatml"'):
        render(conversation(("user", "q"), ("assistant", "a")), tokenizer)


def test_a_conversation_that_the_template_refuses_says_why():
    with pytest.raises(
        UnrenderableConversation, match="the chat template refuses the conversation: no system"
    ):
        render(conversation(("system", "s"), ("assistant", "a")), with_template(REFUSING))
