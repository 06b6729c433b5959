"""Those that name roles in words, or not at all."""

from collections.abc import Iterator

from tests.trainer.templates import jinja
from tests.trainer.templates.families.family import (
    Family,
    Part,
    Refused,
    Turns,
    refuse_unless_alternating,
    same,
    system_apart,
)
from trainer.data.conversation import Conversation


def falcon(conversation: Conversation) -> Iterator[Part]:
    for i, message in enumerate(conversation.messages):
        name = {"system": "System:", "user": "User:", "assistant": "Falcon:", "tool": ""}[message.role]
        is_answer = message.role == "assistant"
        asked = name if is_answer else f"{name} "
        yield Part(("\n" if i else "") + asked, i)
        yield Part(f"{name} "[len(asked) :] + message.content, i, is_produced=is_answer)


# ---- OpenChat, Starling: roles in words, ends in tokens

OPENCHAT = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ 'GPT4 Correct ' + m['role'].title() + ': ' + m['content'] + '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)

# ---- SOLAR: no token ends an answer; MiniCPM: neither does one, nor has an answer a head

SOLAR = (
    "{% for m in messages %}{{ '### ' + m['role'].title() + ':\n' + m['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
MINICPM = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<User>' + m['content'].strip() + '<AI>' }}"
    "{% else %}{{ m['content'].strip() }}{% endif %}{% endfor %}"
)

# ---- DialoGPT: nobody has a head

DIALOGPT = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"

# ---- ERNIE 4.5: a prompt ends with a space

ERNIE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ 'Assistant: ' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'system' %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)

# ---- Nemotron Mini: the next turn's token ends a turn, behind a line break

NEMOTRON_MINI = (
    "{{ '<extra_id_0>System' }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ '\n' + m['content'].strip() }}{% if tools %}{{ '\n' }}{% endif %}{% endif %}{% endfor %}{{ '\n\n' }}"
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<extra_id_1>User\n' + m['content'].strip() + '\n' }}{% elif m['role'] == 'assistant' %}"
    "{{ '<extra_id_1>Assistant\n' + m['content'].strip() + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<extra_id_1>Assistant\n' }}{% endif %}"
)


def nemotron_mini(conversation: Conversation) -> Iterator[Part]:
    messages = list(enumerate(conversation.messages))
    yield Part("<extra_id_0>System", 0)
    for i, message in messages:
        if message.role == "system":
            yield Part(f"\n{message.content.strip()}", i)
    yield Part("\n\n", 0)
    before = None
    for i, message in messages:
        if message.role == "system":
            continue
        yield Part("<extra_id_1>", i, ends=before)
        yield Part(f"{message.role.title()}\n", i)
        is_answer = message.role == "assistant"
        yield Part(f"{message.content.strip()}\n", i, is_produced=is_answer)
        before = i if is_answer else None
    if before is not None and before + 1 == len(messages):
        yield Part("<extra_id_1>", before, is_produced=True, closes=True, is_added=True)


# ---- Idefics, LLaVA: they read lists of texts and pictures, and show no plain words

TYPED = (
    "{% for m in messages %}{{ m['role'].title() + ':' }}{% for item in m['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}{% endif %}{% endfor %}"
    "{{ '<end_of_utterance>\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def typed(conversation: Conversation) -> Iterator[Part]:
    for i, message in enumerate(conversation.messages):
        yield Part(f"{message.role.title()}:", i)
        yield Part("<end_of_utterance>", i, is_produced=message.role == "assistant")
        yield Part("\n", i)


# ---- LLaVA of Mistral and Vicuna: the system's words only as the first, on a line of their own

LLAVA = (
    "{% for m in messages %}{% if m['role'] == 'system' and loop.first %}{{ m['content'] + '\n' }}"
    "{% elif m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}{% elif m['role'] == 'assistant' %}"
    "{{ 'ASSISTANT: ' + m['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

# ---- Hunyuan: every exchange begins anew, and the end of a question asks for the answer

HUNYUAN = (
    "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
    "{% set told = messages[0]['content'] + '<|extra_4|>' %}{% else %}{% set turns = messages %}"
    "{% set told = '' %}{% endif %}{% for m in turns %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}"
    "{{ bos_token + (told if loop.first else '') + m['content'] + '<|extra_0|>' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def hunyuan(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    refuse_unless_alternating([message for _, message in messages])
    told = "" if system is None else f"{system}<|extra_4|>"
    for place, (i, message) in enumerate(messages):
        if message.role == "user":
            yield Part(f"<s>{told if place == 0 else ''}{message.content}<|extra_0|>", i)
        elif message.role == "assistant":
            yield Part(f"{message.content}</s>", i, is_produced=True)
        elif message.role == "tool":
            raise Refused


FAMILIES = [
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
        "llava",
        LLAVA,
        Turns(
            {"system": "", "user": "USER: ", "assistant": "ASSISTANT: "},
            {"system": "\n", "user": " ", "assistant": "</s>"},
            behind=" ",
            asks="ASSISTANT:",
            hides=lambda i, message: message.role == "system" and i > 0,
        ),
    ),
    Family(
        "alpaca",
        jinja.ALPACA,
        Turns(
            {"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"},
            same("\n\n") | {"assistant": "</s>"},
            behind="\n\n",
            hides=lambda i, message: message.role == "system" and i > 0,
        ),
    ),
    Family("falcon", jinja.FALCON, falcon),
    Family(
        "openchat",
        OPENCHAT,
        Turns(
            {role: f"GPT4 Correct {role.title()}: " for role in same("")},
            same("<|end_of_turn|>"),
            before="<s>",
            asks="GPT4 Correct Assistant:",
        ),
        bos="<s>",
        eos="<|end_of_turn|>",
    ),
    Family("solar", SOLAR, Turns({role: f"### {role.title()}:\n" for role in same("")}, same("\n\n"))),
    Family(
        "minicpm",
        MINICPM,
        Turns(same("") | {"user": "<User>"}, same("") | {"user": "<AI>"}, strips=True),
    ),
    Family("dialogpt", DIALOGPT, Turns(same(""), same("</s>"))),
    Family(
        "ernie 4.5",
        ERNIE,
        Turns(
            {"system": "", "user": "User: ", "assistant": "Assistant: "},
            {"system": "\n", "user": "\n", "assistant": "</s>"},
            before="<s>",
        ),
        bos="<s>",
    ),
    Family(
        "nemotron mini",
        NEMOTRON_MINI,
        nemotron_mini,
        ends=("<extra_id_1>",),
        markers=("<extra_id_0>", "<extra_id_1>"),
    ),
    Family("idefics", TYPED, typed, eos="<end_of_utterance>"),
    Family("hunyuan", HUNYUAN, hunyuan, bos="<s>", markers=("<|extra_0|>", "<|extra_4|>")),
]
