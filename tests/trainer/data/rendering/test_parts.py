"""No part of a conversation is lost without a word: what a template does not show is found, or refused."""

import json

from tests.support import every_case
from tests.trainer.templates import jinja
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.render import ExampleRenderer, UnrenderableConversation, UnusableTemplate
from trainer.model import tiny

TURNS = "{%- for m in messages -%}"
END = "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
HEAD, WORDS, TAIL = "{{ '<|im_start|>' + m.role + '\\n' }}", "{{ m.content }}", "{{ '<|im_end|>' }}"
TOOLS = "{%- if tools -%}{{ tools | tojson }}{%- endif -%}"
CALLS = "{%- if m.tool_calls -%}{{ m.tool_calls | tojson }}{%- endif -%}"
NAMES = "{% for call in m.tool_calls or [] %}{{ call.function.name }}{% endfor %}"
WORDS_ONLY = TURNS + HEAD + WORDS + TAIL + END
WITHOUT_CALLS = TOOLS + WORDS_ONLY
WITHOUT_TOOLS = TURNS + HEAD + WORDS + CALLS + TAIL + END
COMPLETE = TOOLS + WITHOUT_TOOLS
CALLS_OR_WORDS = COMPLETE.replace(WORDS, "{%- if not m.tool_calls -%}" + WORDS + "{%- endif -%}")
NAMES_ONLY = COMPLETE.replace(CALLS, NAMES)
NO_RESULTS = COMPLETE.replace(HEAD, "{%- if m.role != 'tool' -%}" + HEAD).replace(
    TAIL, TAIL + "{%- endif -%}"
)
NO_LATE_SYSTEM = NO_RESULTS.replace("m.role != 'tool'", "m.role != 'system' or loop.first")
EMPTY_THOUGHTS = "{%- if m.role == 'assistant' -%}{{ '<think>\\n\\n</think>\\n' }}{%- endif -%}"
THINKS_BEFORE_CALLS = COMPLETE.replace(WORDS, EMPTY_THOUGHTS + WORDS)
FIRST_TOOL_ONLY = "{{ tools[0].function.name if tools }}" + WORDS_ONLY
PARAMETERS = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
ADD = {
    "type": "function",
    "function": {"name": "add", "description": "Adds numbers.", "parameters": PARAMETERS},
}


def call(name: str = "add", **arguments: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def talk(*messages: Message, tools: tuple[dict[str, object], ...] = ()) -> Conversation:
    return Conversation(messages, tools=tools)


ASKED = Message("user", "Please add 2 and 3, now.")
CALLED = Message("assistant", "", tool_calls=(call(a=2, b="3"),))
RESULT = Message("tool", "5", extra={"name": "add"})
ANSWERED = Message("assistant", "It is 5.")
WHOLE = talk(ASKED, CALLED, RESULT, ANSWERED, tools=(ADD,))


def renderer(template: str) -> ExampleRenderer:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return ExampleRenderer(tokenizer)


def refusal(template: str, conversation: Conversation, train_on: str) -> str:
    try:
        renderer(template).render([conversation], max_length=1000, train_on=train_on)
    except (UnrenderableConversation, UnusableTemplate) as error:
        return str(error)
    return "nothing"


def test_what_would_be_trained_is_shown_or_refused_by_name():
    late = talk(ASKED, Message("system", "Be brief."), ANSWERED)
    said_and_called = talk(ASKED, Message("assistant", "I add.", tool_calls=(call(a=2),)), tools=(ADD,))
    nothing_given = talk(ASKED, Message("assistant", "", tool_calls=(call("now"),)), RESULT, ANSWERED)
    thought = talk(ASKED, Message("assistant", "5", extra={"thinking": "2 and 3 is 5."}))
    expected = [
        (COMPLETE, WHOLE, "assistant", "nothing"),
        (WORDS_ONLY, WHOLE, "assistant", "does not show the tools"),
        (WITHOUT_TOOLS, WHOLE, "assistant", "does not show the tools"),
        (WITHOUT_CALLS, WHOLE, "assistant", "does not show the tool_calls of messages[1]"),
        (NAMES_ONLY, WHOLE, "assistant", "does not show the tool_calls of messages[1]"),
        (NAMES_ONLY, nothing_given, "assistant", "does not show the tool_calls of messages[1]"),
        (COMPLETE, nothing_given, "assistant", "nothing"),
        (CALLS_OR_WORDS, said_and_called, "assistant", "the words of messages[1]"),
        (CALLS_OR_WORDS, said_and_called, "all", "does not show the words of messages[1]"),
        (NO_RESULTS, WHOLE, "all", "does not show the tool result of messages[2]"),
        (NO_RESULTS, WHOLE, "assistant", "nothing"),
        (NO_LATE_SYSTEM, late, "all", "does not show the words of messages[1]"),
        (COMPLETE, thought, "assistant", "does not show the reasoning of messages[1]"),
        (
            THINKS_BEFORE_CALLS,
            WHOLE,
            "assistant",
            "adds something of its own before the words of messages[1]",
        ),
    ]
    with every_case() as cases:
        for number, (template, conversation, train_on, told) in enumerate(expected):
            with cases.case(f"{number}: {told}"):
                assert told in refusal(template, conversation, train_on)


def test_context_that_is_lost_is_named():
    late = talk(ASKED, ANSWERED, Message("system", "Be brief."), ASKED, ANSWERED)
    earlier = talk(ASKED, Message("assistant", "5", extra={"reasoning": "So."}), ASKED, ANSWERED)
    expected = [
        (NO_RESULTS, WHOLE, "assistant", ["the tool result of messages[2]"]),
        (NO_LATE_SYSTEM, late, "assistant", ["the words of messages[2]"]),
        (FIRST_TOOL_ONLY, talk(ASKED, ANSWERED, tools=(ADD,)), "assistant", ["the schema of the tools"]),
        (COMPLETE, earlier, "last_assistant", ["the reasoning of messages[1]"]),
        (COMPLETE, WHOLE, "assistant", []),
        (COMPLETE, talk(ASKED, ANSWERED), "assistant", []),
    ]
    with every_case() as cases:
        for number, (template, conversation, train_on, lost) in enumerate(expected):
            with cases.case(str(number)):
                assert renderer(template).lost_context(conversation, train_on=train_on) == lost


def test_words_that_a_template_cuts_out_of_a_text_are_missed():
    cuts = COMPLETE.replace(WORDS, "{{ m.content.split('</think>')[-1] }}")
    question = Message("user", "What does </think> mean?")

    lost = renderer(cuts).lost_context(talk(question, ANSWERED), train_on="assistant")

    assert lost == ["the words of messages[0]"]


def test_words_inside_of_json_are_found_however_they_are_written():
    escaped = COMPLETE.replace(WORDS, "{{ m.content | tojson if m.role == 'tool' else m.content }}")
    result = Message("tool", 'He said "é".\nThen\t🎉.', extra={"name": "add"})
    row = talk(ASKED, CALLED, result, ANSWERED, tools=(ADD,))

    assert renderer(escaped).lost_context(row, train_on="assistant") == []


def test_a_template_that_wants_arguments_as_text_gets_them_so():
    as_text = "{% for call in m.tool_calls or [] %}{{ call.function.name + ': ' + call.function.arguments }}"
    ours = renderer(COMPLETE.replace(CALLS, as_text + "{% endfor %}"))

    [[example]] = ours.render([WHOLE], max_length=1000)

    text = tiny.tokenizer().decode(example.token_ids)
    assert f"add: {json.dumps({'a': 2, 'b': '3'})}<|im_end|>" in text


def test_rows_of_the_same_structure_are_tried_once():
    ours = renderer(jinja.QWEN_2_5)
    other = Message("assistant", "", tool_calls=(call(a=4, b="5"),))

    ours.render([WHOLE, talk(ASKED, other, RESULT, ANSWERED, tools=(ADD,))], max_length=1000)

    assert len(ours._parts._known) == 1


def test_thoughts_are_shown_by_the_name_that_the_template_knows():
    thinks = COMPLETE.replace(WORDS, "{{ m.reasoning_content or '' }}" + WORDS)
    thought = talk(ASKED, Message("assistant", "5", extra={"thinking": "2 and 3 is 5."}))

    [[example]] = renderer(thinks).render([thought], max_length=1000)

    assert "2 and 3 is 5.5<|im_end|>" in tiny.tokenizer().decode(example.token_ids)


def test_a_flag_called_like_thoughts_is_not_taken_for_thoughts():
    flagged = "{%- if thinking -%}<think>{%- endif -%}"
    thinks = flagged + COMPLETE.replace(WORDS, "{{ m['reasoning_content'] or '' }}" + WORDS)
    thought = talk(ASKED, Message("assistant", "5", extra={"thinking": "2 and 3 is 5."}))

    [[example]] = renderer(thinks).render([thought], max_length=1000)

    assert "2 and 3 is 5.5<|im_end|>" in tiny.tokenizer().decode(example.token_ids)


def test_a_call_that_is_named_in_its_result_only_is_lost():
    ids_only = "{% for call in m.tool_calls or [] %}{{ call.id ~ call.function.arguments }}{% endfor %}"
    template = COMPLETE.replace(CALLS, ids_only).replace(WORDS, "{{ m.name or '' }}" + WORDS)

    def asked(call_id: str) -> Conversation:
        called = Message("assistant", "", tool_calls=({**call(a=2, b="3"), "id": call_id},))
        return talk(ASKED, called, RESULT, ANSWERED, tools=(ADD,))

    assert "the tool_calls of messages[1]" in refusal(template, asked("call-1"), "assistant")
    assert refusal(template, asked("functions.add:0"), "assistant") == "nothing"
