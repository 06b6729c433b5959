"""What each family's template makes of a conversation, said a second time and without a template.

A part is a stretch of text: which turn it belongs to, and whether the model produces it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.trainer.templates import jinja
from trainer.data.conversation import Conversation, Message
from trainer.model import chatml


class Refused(Exception):
    """The template does not take such a conversation."""


@dataclass(frozen=True)
class Part:
    text: str
    turn: int | None = None
    is_produced: bool = False


Parts = Callable[[Conversation], Iterator[Part]]


@dataclass(frozen=True)
class Family:
    name: str
    template: str
    parts: Parts
    bos: str = ""
    eos: str = "</s>"
    hidden: Callable[[Conversation, list[int]], bool] = lambda conversation, learned: False
    """Whether some of the turns that are to be learned are not shown as they are asked for."""
    options: Mapping[str, Any] = field(default_factory=dict)
    shows_tools: bool = False
    shows_thoughts: bool = False
    ends_turns: bool = True
    """Whether a token of the vocabulary ends what the model produces."""
    rewrites: bool = False
    """Whether an answer looks another way once more turns follow."""
    merges_system: bool = False
    """Whether a system message has no place of its own."""


@dataclass(frozen=True)
class Turns:
    """Each turn between a head and an end by its role, one after the other."""

    heads: Mapping[str, str]
    ends: Mapping[str, str]
    before: str = ""
    behind: str = ""
    """After the end of an assistant's turn, but not produced by it."""
    between: str = ""
    """The same, if another turn follows."""
    default_system: str | None = None
    strips: bool = False
    alternates: bool = False
    system: str = "head"
    """`head`: a turn of its own; `refused`: not taken."""
    last: str = ""
    """What the text ends with."""
    asks: str | None = None
    """Part of the assistant's head that the template asks with; None for all of it."""

    def __call__(self, conversation: Conversation) -> Iterator[Part]:
        messages = list(enumerate(conversation.messages))
        has_system = messages[0][1].role == "system"
        if has_system and self.system == "refused":
            raise Refused
        if self.alternates:
            refuse_unless_alternating([message for _, message in messages[has_system:]])
        if self.before:
            yield Part(self.before, 0)
        if self.default_system is not None and not has_system:
            yield Part(self.default_system, 0)
        for i, message in messages:
            content = message.content.strip() if self.strips else message.content
            head, end = self.heads[message.role], self.ends[message.role]
            if message.role != "assistant":
                yield Part(head + content + end, i)
                continue
            asks = head if self.asks is None else self.asks
            yield Part(asks, i)
            yield Part(head[len(asks) :] + content + end, i, is_produced=True)
            yield Part(self.behind, i)
            if i + 1 < len(messages):
                yield Part(self.between, i + 1)
        yield Part(self.last)


def same(text: str) -> dict[str, str]:
    return dict.fromkeys(("system", "user", "assistant", "tool"), text)


def by_role(pattern: str, **names: str) -> dict[str, str]:
    return {role: pattern.replace("ROLE", names.get(role, role)) for role in same("")}


def refuse_unless_alternating(messages: Sequence[Message]) -> None:
    for i, message in enumerate(messages):
        if (message.role == "user") != (i % 2 == 0):
            raise Refused


def system_in_first_question(
    conversation: Conversation, before: str, after: str, *, strips_all: bool = False
) -> Iterator[tuple[int, Message, str]]:
    """Yield turn, message and what it says, with the system's words in the first question."""
    messages = list(enumerate(conversation.messages))
    prefix = ""
    if messages[0][1].role == "system":
        prefix = before + messages.pop(0)[1].content + after
    refuse_unless_alternating([message for _, message in messages])
    for place, (i, message) in enumerate(messages):
        said = message.content.strip()
        if place == 0:
            said = (prefix + message.content).strip() if strips_all else prefix + said
        yield i, message, said


def llama_2(conversation: Conversation) -> Iterator[Part]:
    for i, message, said in system_in_first_question(
        conversation, "<<SYS>>\n", "\n<</SYS>>\n\n", strips_all=True
    ):
        if message.role == "user":
            yield Part(f"<s>[INST] {said} [/INST]", i)
        else:
            yield Part(f" {said} </s>", i, is_produced=True)


def gemma_3(conversation: Conversation) -> Iterator[Part]:
    yield Part("<bos>", 0)
    for i, message, said in system_in_first_question(conversation, "", "\n\n"):
        role = "model" if message.role == "assistant" else "user"
        yield Part(f"<start_of_turn>{role}\n", i)
        yield Part(f"{said}<end_of_turn>", i, is_produced=message.role == "assistant")
        yield Part("\n", i)


def llama_3_1(conversation: Conversation) -> Iterator[Part]:
    messages = list(enumerate(conversation.messages))
    system = messages.pop(0)[1].content.strip() if messages[0][1].role == "system" else ""
    ipython = "Environment: ipython\n" if conversation.tools else ""
    yield Part(f"<s><|start_header_id|>system<|end_header_id|>\n\n{ipython}Today Date: 26 Jul 2024\n\n", 0)
    yield Part(f"{system}<|eot_id|>", 0)
    given = "".join(json.dumps(tool, indent=4) + "\n\n" for tool in conversation.tools)
    if given:
        given = f"Given the following functions, respond with a call.\n\n{given}"
    for i, message in messages:
        role = "ipython" if message.role == "tool" else message.role
        yield Part(f"<|start_header_id|>{role}<|end_header_id|>\n\n{given}", i)
        given = ""
        said = message.content if role == "ipython" else message.content.strip()
        for call in message.tool_calls:
            arguments = json.dumps(call["function"]["arguments"])
            said = f'{{"name": "{call["function"]["name"]}", "parameters": {arguments}}}'
        yield Part(f"{said}<|eot_id|>", i, is_produced=role == "assistant")


def mistral_3(conversation: Conversation) -> Iterator[Part]:
    messages = list(enumerate(conversation.messages))
    system = messages.pop(0)[1].content if messages[0][1].role == "system" else None
    refuse_unless_alternating([m for _, m in messages if m.role != "tool" and not m.tool_calls])
    last_question = max(i for i, message in messages if message.role == "user")
    yield Part("<s>", 0)
    for i, message in messages:
        if message.role == "user":
            if conversation.tools and i == last_question:
                yield Part(f"[AVAILABLE_TOOLS] {json.dumps(list(conversation.tools))}[/AVAILABLE_TOOLS]", i)
            is_end = i + 1 == len(conversation.messages) and system is not None
            told = f"{system}\n\n" if is_end else ""
            yield Part(f"[INST] {told}{message.content}[/INST]", i)
        elif message.role == "tool":
            yield Part(f'[TOOL_RESULTS] {{"content": {message.content}}}[/TOOL_RESULTS]', i)
        elif message.tool_calls:
            calls = ", ".join(json.dumps(call["function"]) for call in message.tool_calls)
            yield Part(f"[TOOL_CALLS] [{calls}]</s>", i, is_produced=True)
        else:
            yield Part(f" {message.content.strip()}</s>", i, is_produced=True)


def hidden_in_mistral_3(conversation: Conversation, learned: list[int]) -> bool:
    """It shows the system's words in a last question only, and the tools before the last one."""
    messages = conversation.messages
    after_question = [i for i in learned if i and messages[i - 1].role == "user"]
    last_question = max(i for i, message in enumerate(messages) if message.role == "user")
    is_system_lost = messages[0].role == "system" and bool(after_question)
    return is_system_lost or (bool(conversation.tools) and any(i < last_question for i in learned))


def qwen(default_system: str | None, *, thinks: bool = False, is_told_not_to: bool = False) -> Parts:
    def parts(conversation: Conversation) -> Iterator[Part]:
        messages = conversation.messages
        system = messages[0].content if messages[0].role == "system" else default_system
        if conversation.tools:
            given = "".join("\n" + json.dumps(tool) for tool in conversation.tools)
            told = f"\n\n# Tools\n\n<tools>{given}\n</tools>\n\nReturn a call within <tool_call></tool_call>."
            yield Part(f"<|im_start|>system\n{system or ''}{told}<|im_end|>\n", 0)
        elif system is not None:
            yield Part(f"<|im_start|>system\n{system}<|im_end|>\n", 0)
        has_question = any(message.role == "user" for message in messages)
        for i, message in enumerate(messages):
            if message.role == "tool":
                yield Part(f"<|im_start|>user\n<tool_response>\n{message.content}\n</tool_response>", i)
                yield Part("<|im_end|>\n", i)
            elif message.role != "system":
                yield Part(f"<|im_start|>{message.role}\n", i)
                if thinks and i == len(messages) - 1 and has_question and message.role == "assistant":
                    thoughts = message.extra.get("reasoning_content", "")
                    yield Part(f"<think>\n{thoughts}\n</think>\n\n", i, is_produced=not is_told_not_to)
                yield Part(f"{with_calls(message)}<|im_end|>", i, is_produced=message.role == "assistant")
                yield Part("\n", i)

    return parts


def with_calls(message: Message) -> str:
    calls = [
        f'<tool_call>\n{{"name": "{call["function"]["name"]}", "arguments": '
        f"{json.dumps(call['function']['arguments'])}}}\n</tool_call>"
        for call in message.tool_calls
    ]
    return "\n".join([message.content, *calls] if message.content else calls)


def chatml_with_tools(conversation: Conversation) -> Iterator[Part]:
    """Rows with tools as Hermes shows them, with the words of Qwen 2.5; others as plain ChatML."""
    messages = conversation.messages
    if not conversation.tools:
        yield from CHATML_TURNS(conversation)
        return
    system = messages[0].content + "\n\n" if messages[0].role == "system" else ""
    tools = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in conversation.tools)
    yield Part(
        f"<|im_start|>system\n{system}# Tools\n\nYou may call one or more functions to assist with the user "
        "query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>{tools}\n</tools>\n\nFor each function call, return a json object with function name and "
        "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n',
        0,
    )
    for i, message in enumerate(messages):
        if message.role == "tool":
            yield Part(
                f"<|im_start|>user\n<tool_response>\n{message.content}\n</tool_response><|im_end|>\n", i
            )
        elif message.role != "system":
            yield Part(f"<|im_start|>{message.role}\n", i)
            yield Part(f"{with_calls(message)}<|im_end|>", i, is_produced=message.role == "assistant")
            yield Part("\n", i)


def hidden_in_qwen_3(conversation: Conversation, learned: list[int]) -> bool:
    """Only the last turn shows thoughts, and always; nobody asks for what a conversation begins with."""
    last = len(conversation.messages) - 1
    thoughts = conversation.messages[last].extra
    return any(i != last or not thoughts for i in learned if i > 0)


def hidden_in_qwen_3_without_thoughts(conversation: Conversation, learned: list[int]) -> bool:
    last = len(conversation.messages) - 1
    thoughts = conversation.messages[last].extra
    return any(i != last or bool(thoughts) for i in learned if i > 0)


IM_HEAD, IM_END = by_role("<|im_start|>ROLE\n"), same("<|im_end|>") | {"user": "<|im_end|>\n"}
IM_END |= {"system": "<|im_end|>\n", "tool": "<|im_end|>\n"}
PIPES = by_role("<|ROLE|>\n")
SLASHED = same("</s>\n") | {"assistant": "</s>"}
COHERE = by_role(
    "<|START_OF_TURN_TOKEN|><|ROLE|>", system="SYSTEM_TOKEN", user="USER_TOKEN", assistant="CHATBOT_TOKEN"
)
DEEPSEEK = {"system": "", "user": "<|User|>", "assistant": "<|Assistant|>"}
DEEPSEEK_ENDS = {"system": "", "user": "", "assistant": "<|end_of_sentence|>"}
ROLES_OF_IBM = by_role("<|start_of_role|>ROLE<|end_of_role|>")
IBM_ENDS = same("<|end_of_text|>\n") | {"assistant": "<|end_of_text|>"}
CHATML_TURNS = Turns(IM_HEAD, IM_END, behind="\n")


def falcon(conversation: Conversation) -> Iterator[Part]:
    for i, message in enumerate(conversation.messages):
        name = {"system": "System:", "user": "User:", "assistant": "Falcon:"}[message.role]
        is_answer = message.role == "assistant"
        asked = name if is_answer else f"{name} "
        yield Part(("\n" if i else "") + asked, i)
        yield Part(f"{name} "[len(asked) :] + message.content, i, is_produced=is_answer)


def llama_3(conversation: Conversation) -> Iterator[Part]:
    heads = by_role("<|start_header_id|>ROLE<|end_header_id|>\n\n")
    return Turns(heads, same("<|eot_id|>"), before="<s>", strips=True)(conversation)


FAMILIES = [
    Family("chatml", jinja.CHATML, CHATML_TURNS, eos="<|im_end|>"),
    Family("chatml with markers", chatml.CHATML, chatml_with_tools, eos="<|im_end|>", shows_tools=True),
    Family("chatml of the embedded model", chatml.PLAIN_CHATML, CHATML_TURNS, eos="<|im_end|>"),
    Family(
        "smollm",
        jinja.SMOLLM,
        Turns(IM_HEAD, IM_END, behind="\n", default_system="<|im_start|>system\nYou are SmolLM.<|im_end|>\n"),
        eos="<|im_end|>",
    ),
    Family(
        "phi 4",
        jinja.PHI_4,
        Turns(by_role("<|im_start|>ROLE<|im_sep|>"), same("<|im_end|>")),
        eos="<|im_end|>",
    ),
    Family(
        "phi 3",
        jinja.PHI_3,
        Turns(PIPES, same("<|end|>\n") | {"assistant": "<|end|>"}, behind="\n", last="<|endoftext|>"),
        eos="<|endoftext|>",
    ),
    Family("llama 2", jinja.LLAMA_2, llama_2, bos="<s>", merges_system=True),
    Family("llama 3", jinja.LLAMA_3, llama_3, bos="<s>", eos="<|eot_id|>"),
    Family("llama 3.1", jinja.LLAMA_3_1, llama_3_1, bos="<s>", eos="<|eot_id|>", shows_tools=True),
    Family(
        "mistral 1",
        jinja.MISTRAL_1,
        Turns(
            {"user": "[INST] ", "assistant": ""},
            {"user": " [/INST]", "assistant": "</s>"},
            before="<s>",
            alternates=True,
            system="refused",
        ),
        bos="<s>",
    ),
    Family(
        "mistral 3",
        jinja.MISTRAL_3,
        mistral_3,
        bos="<s>",
        hidden=hidden_in_mistral_3,
        shows_tools=True,
        merges_system=True,
    ),
    Family(
        "gemma",
        jinja.GEMMA,
        Turns(
            by_role("<start_of_turn>ROLE\n", assistant="model"),
            {"user": "<end_of_turn>\n", "assistant": "<end_of_turn>"},
            before="<bos>",
            behind="\n",
            strips=True,
            alternates=True,
            system="refused",
        ),
        bos="<bos>",
        eos="<end_of_turn>",
    ),
    Family("gemma 3", jinja.GEMMA_3, gemma_3, bos="<bos>", eos="<end_of_turn>", merges_system=True),
    Family("qwen 2.5", jinja.QWEN_2_5, qwen("You are Qwen."), eos="<|im_end|>", shows_tools=True),
    Family(
        "qwen 3",
        jinja.QWEN_3,
        qwen(None, thinks=True),
        eos="<|im_end|>",
        hidden=hidden_in_qwen_3,
        shows_tools=True,
        shows_thoughts=True,
        rewrites=True,
    ),
    Family(
        "qwen 3 without thoughts",
        jinja.QWEN_3,
        qwen(None, thinks=True, is_told_not_to=True),
        eos="<|im_end|>",
        options={"enable_thinking": False},
        hidden=hidden_in_qwen_3_without_thoughts,
        shows_tools=True,
        shows_thoughts=True,
        rewrites=True,
    ),
    Family(
        "deepseek 2",
        jinja.DEEPSEEK_V2,
        Turns(
            {"system": "", "user": "User: ", "assistant": "Assistant: "},
            {"system": "\n\n", "user": "\n\n", "assistant": "</s>"},
            before="<s>",
            asks="Assistant:",
        ),
        bos="<s>",
    ),
    Family("deepseek 3", jinja.DEEPSEEK_V3, Turns(DEEPSEEK, DEEPSEEK_ENDS, before="<s>"), bos="<s>"),
    Family(
        "deepseek r1",
        jinja.DEEPSEEK_R1,
        Turns(DEEPSEEK, DEEPSEEK_ENDS, before="<s>"),
        bos="<s>",
        hidden=lambda conversation, learned: any(learned),
    ),
    Family("zephyr", jinja.ZEPHYR, Turns(PIPES, SLASHED, behind="\n")),
    Family(
        "command r",
        jinja.COMMAND_R,
        Turns(COHERE, same("<|END_OF_TURN_TOKEN|>"), before="<s>", strips=True, alternates=True),
        bos="<s>",
        eos="<|END_OF_TURN_TOKEN|>",
    ),
    Family(
        "vicuna",
        jinja.VICUNA,
        Turns(
            {"system": "", "user": "USER: ", "assistant": "ASSISTANT: "},
            {"system": " ", "user": " ", "assistant": "</s>"},
            before="<s>",
            strips=True,
            alternates=True,
            asks="ASSISTANT:",
        ),
        bos="<s>",
    ),
    Family(
        "alpaca",
        jinja.ALPACA,
        Turns(
            {"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"},
            same("\n\n") | {"assistant": "</s>"},
            behind="\n\n",
        ),
    ),
    Family("falcon", jinja.FALCON, falcon, ends_turns=False),
    Family(
        "tulu",
        jinja.TULU,
        Turns(PIPES, same("\n") | {"assistant": "</s>"}, before="<s>", between="\n"),
        bos="<s>",
    ),
    Family(
        "granite",
        jinja.GRANITE,
        Turns(
            ROLES_OF_IBM,
            IBM_ENDS,
            behind="\n",
            default_system="<|start_of_role|>system<|end_of_role|>You are Granite.<|end_of_text|>\n",
        ),
        eos="<|end_of_text|>",
    ),
]
