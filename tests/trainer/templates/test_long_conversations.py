"""A long conversation is rendered in stretches, and nothing but the time it takes is different."""

from dataclasses import replace

import pytest

from tests.support import every_case
from tests.trainer.templates.test_masks import EACH_FAMILY, FAMILIES, TOKENIZERS, TOOL, outcome, said, shown
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.render import UnusableTemplate, render_examples
from trainer.model import tiny


def talk(num_turns: int, *, system: bool = False) -> Conversation:
    turns = [("system", "Be brief.")] * system
    for number in range(num_turns):
        turns += [("user", f"ask {number} <|im_end|>"), ("assistant", f"answer {number}\n")]
    return said(*turns[:num_turns])


def agent(num_turns: int) -> Conversation:
    """Return a conversation with few questions, and many calls behind each."""
    messages = [Message("user", "go")]
    for number in range(num_turns // 2):
        call = {"type": "function", "function": {"name": "weather", "arguments": {"city": f"B{number}"}}}
        extra = {"name": "weather", "tool_call_id": "abcdefghi"}
        messages += [Message("assistant", "", tool_calls=(call,)), Message("tool", f"r{number}", extra=extra)]
        if number % 9 == 8:
            messages += [Message("assistant", "done"), Message("user", "more")]
    return Conversation(tuple(messages), tools=(TOOL,))


def answers_in_a_row(num_questions: int) -> Conversation:
    """Return a conversation with two answers to each question, and three to some."""
    turns = []
    for number in range(num_questions):
        turns += [
            ("user", f"ask {number}"),
            ("assistant", f"answer {number}"),
            ("assistant", f"more {number}"),
        ]
        turns += [("assistant", "done")] * (number % 4 == 3)
    return said(*turns)


def with_untrained(conversation: Conversation) -> Conversation:
    messages = [replace(m, is_trained=i % 3 > 0) for i, m in enumerate(conversation.messages)]
    return replace(conversation, messages=tuple(messages))


LONG = {
    "an even number": talk(26),
    "an odd number": talk(27),
    "a system message": talk(41, system=True),
    "untrained turns": with_untrained(talk(27, system=True)),
    "calls": agent(44),
    "answers in a row": answers_in_a_row(12),
}


# With other modes no more than a few turns have to be found, and there are no stretches
MODES_OF = [*((name, "assistant") for name in LONG), ("untrained turns", "all")]


# Which families refuse such a row: they rewrite earlier turns, or know no such role or order
SHOW_CALLS = {
    "apertus",
    "chatml with markers",
    "deepseek 3.1",
    "gemma 4 that may think",
    "glm 4.5 without thoughts",
    "hermes 3",
    "jamba",
    "llama 3.1",
    "llama 4",
    "mistral small 3.2",
    "qwen 2.5",
    "qwen 3 coder",
    "seed oss",
}
REWRITE = {
    "deepseek 3.1 that thinks",
    "deepseek r1",
    "falcon",
    "functionary",
    "gemma 4",
    "glm 4.5",
    "gpt-oss",
    "idefics",
    "minicpm",
    "minimax m2",
    "qwen 3",
    "qwen 3 thinking",
    "qwen 3 without thoughts",
    "qwen 3.5",
    "qwen 3.5 without thoughts",
    "qwq",
    "solar",
}
NO_SYSTEM = {"mistral 1", "mistral 3", "mistral nemo", "gemma"}
NO_ANSWERS_IN_A_ROW = {
    "command r",
    "deepseek 3.1 that thinks",
    "deepseek r1",
    "falcon",
    "functionary",
    "gemma",
    "gemma 3",
    "gemma 4",
    "glm 4.5",
    "gpt-oss",
    "hunyuan",
    "idefics",
    "llama 2",
    "minicpm",
    "minimax m2",
    "mistral 1",
    "mistral 3",
    "mistral nemo",
    "mixtral",
    "olmo 2, whose texts begin as they end",
    "olmo 3",
    "phi 3 vision",
    "qwen 3",
    "qwen 3 thinking",
    "qwen 3 without thoughts",
    "qwen 3.5",
    "qwen 3.5 without thoughts",
    "qwq",
    "solar",
    "tulu",
    "vicuna",
}
NO_MODE_ALL = {
    "gemma",
    "gemma 3",
    "hunyuan",
    "idefics",
    "llama 2",
    "mistral 1",
    "mistral 3",
    "mistral nemo",
    "mixtral",
    "qwen 3",
    "qwen 3 thinking",
    "qwen 3 without thoughts",
    "qwen 3.5",
    "qwen 3.5 without thoughts",
}
REFUSED = {
    ("an even number", "assistant"): REWRITE,
    ("an odd number", "assistant"): REWRITE,
    ("a system message", "assistant"): REWRITE | NO_SYSTEM,
    ("untrained turns", "assistant"): REWRITE | NO_SYSTEM,
    ("untrained turns", "all"): NO_MODE_ALL,
    ("calls", "assistant"): {family.name for family in FAMILIES} - SHOW_CALLS,
    ("answers in a row", "assistant"): NO_ANSWERS_IN_A_ROW,
}


@EACH_FAMILY
def test_stretches_show_what_the_whole_shows(family, monkeypatch):
    def rendered(row: Conversation, train_on: str) -> object:
        ways = {"max_length": 10**6, "train_on": train_on}
        found = outcome(lambda: shown(render_examples([row], TOKENIZERS[family.name], **ways)))
        return "refused" if isinstance(found, type) else found

    with every_case() as cases:
        for name, train_on in MODES_OF:
            with cases.case(f"{name}, {train_on}"):
                monkeypatch.setattr("trainer.data.rendering.masks.MANY_TURNS", 10**6)
                expected = rendered(LONG[name], train_on)
                assert (expected == "refused") == (family.name in REFUSED[name, train_on])
                monkeypatch.setattr("trainer.data.rendering.masks.MANY_TURNS", 4)
                assert rendered(LONG[name], train_on) == expected


def test_every_family_that_refuses_a_row_exists():
    assert set().union(*REFUSED.values()) | SHOW_CALLS <= {family.name for family in FAMILIES}
    assert all(len(REFUSED[case]) < len(FAMILIES) - 10 for case in REFUSED)


def tokenizer_that_counts(template: str) -> tuple[object, list[int]]:
    tokenizer, counts = tiny.tokenizer(), []
    tokenizer.chat_template = template
    run = tokenizer.apply_chat_template

    def counted(messages, **how):
        counts.append(len(messages))
        return run(messages, **how)

    tokenizer.apply_chat_template = counted
    return tokenizer, counts


TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


@pytest.mark.parametrize("has_questions", [True, False])
def test_ten_times_the_turns_take_ten_times_the_work(has_questions):
    template = "{% for m in messages %}" + TURN + "{% endfor %}" + ASK
    shown_turns = []
    for num_turns in (200, 2000):
        tokenizer, counts = tokenizer_that_counts(template)
        row = talk(num_turns)
        if not has_questions:
            row = replace(row, messages=tuple(replace(message, role="assistant") for message in row.messages))
        render_examples([row], tokenizer, max_length=10**6)
        shown_turns.append(sum(counts))

    assert shown_turns[1] < 12 * shown_turns[0]
    assert shown_turns[1] < 30 * 2000


def test_a_template_that_looks_far_away_is_refused():
    far = "{% if messages | length > 100 and loop.index == 30 %}{{ '(long)' }}{% endif %}"
    template = "{% for m in messages %}" + far + TURN + "{% endfor %}" + ASK
    tokenizer, _ = tokenizer_that_counts(template)

    with pytest.raises(UnusableTemplate, match=r"(differently when they stand alone|rewrites)"):
        render_examples([talk(120)], tokenizer, max_length=10**6)
