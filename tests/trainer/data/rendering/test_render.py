"""Which tokens are learned. What transformers finds by its own template markers is there to compare with."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from trainer.data.conversation import Conversation, Message, Role
from trainer.data.rendering.chat_template import OtherTemplate
from trainer.data.rendering.render import (
    IGNORED,
    Example,
    ExampleRenderer,
    UnrenderableConversation,
    UnusableTemplate,
    render_examples,
)
from trainer.model.chatml import PLAIN_CHATML
from trainer.model.tiny import _tokenizer
from trainer.model.training_templates import TemplateInUse

TURNS = "{%- for m in messages -%}"
END = "{%- endfor -%}"
ASK = "{%- if add_generation_prompt -%}{{ 'assistant:\\n' }}{%- endif -%}"
NO_MARKER = TURNS + "{{ m['role'] + ':\\n' + m['content'] + '\\n' }}" + END + ASK
NO_LINE_END = TURNS + "{{ m['role'] + ':\\n' + m['content'] + '<|im_end|>' }}" + END + ASK
SPACED = TURNS + "{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}" + END + ASK.replace(":\\n", ":")
ENDED_BY_THE_NEXT = (
    TURNS
    + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    + END
    + "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
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
    tokenizer.training_template_in_use = TemplateInUse("0" * 64, for_inference=NO_LINE_END)

    assert learned(render(row, tokenizer), tokenizer) == ["final: a<|im_end|>"]


def test_a_refusal_names_the_training_template_that_fits():
    tokenizer = with_template(NO_MARKER)
    gemma = OtherTemplate('set model.chat_template to "gemma"', PLAIN_CHATML, "<|im_end|>", None)
    tokenizer.other_templates = [gemma]

    with pytest.raises(UnusableTemplate, match=r'set model\.chat_template to "gemma"$'):
        render(conversation(("user", "q"), ("assistant", "a"), ("user", "r")), tokenizer)


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

    with pytest.raises(UnusableTemplate, match=r"before the words of messages\[1\].*; no other template"):
        render(conversation(("user", "q"), ("assistant", "a")), tokenizer)


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


# ---- plain texts, tools and thoughts


def plain(text: str, *, is_trained: bool = True) -> Conversation:
    return Conversation((Message("user", text, is_trained=is_trained),), is_plain_text=True)


def test_a_plain_text_is_learned_whole_with_its_end_and_without_a_template(tokenizer):
    example = render(plain("Once upon 🎉"), with_template(REFUSING))

    assert tokenizer.decode(example.token_ids) == "Once upon 🎉<|im_end|>"
    assert example.labels == example.token_ids


def test_a_plain_text_begins_as_the_tokenizer_begins_texts():
    tokenizer = _tokenizer()
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
    tokenizer = _tokenizer()
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
            "does not show the tools; remove the tools with their calls and results$",
        ),
    ],
)
def test_a_template_that_knows_no_tools_does_not_hide_them(tokenizer, row, told):
    with pytest.raises(UnrenderableConversation, match=told):
        render(row, tokenizer)


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
