"""A training template shows what the model's own shows, but for what is documented, and fits our masks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from scripts import document_templates
from tests.support import every_case
from tests.trainer.templates.originals import ORIGINALS, Original
from tests.trainer.templates.own_templates import MARKERS_OF_THOSE, TRAIN_AS_THEY_ARE
from tests.trainer.templates.test_masks import CALL, SHAPES, TOOL, said
from trainer.config import model_settings
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import ShownTurns
from trainer.data.rendering.masks import render_text
from trainer.data.rendering.render import UnrenderableConversation, UnusableTemplate
from trainer.model import tiny
from trainer.model.template_choice import choose_template, with_defaults
from trainer.model.template_trial import TemplateOrder, names_asked_for, try_template
from trainer.model.training_templates import (
    BY_NAME,
    FOLDER,
    TRAINING_TEMPLATES,
    Vocabulary,
    fitting_template,
)

TINY = tiny.tokenizer().backend_tokenizer.to_str()
EACH = pytest.mark.parametrize("original", ORIGINALS, ids=[original.name for original in ORIGINALS])


def thinking(content: str, thoughts: str, **rest: Any) -> Message:
    return Message("assistant", content, extra={"reasoning_content": thoughts}, **rest)


ASK, ANSWER = Message("user", "Why?"), Message("assistant", "So.")
WITH_ID = {**CALL, "id": "abcdefghi"}
OTHER_TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search “everything”.",
        "parameters": {
            "type": "object",
            "properties": {
                "words": {"type": "array", "items": {"type": "string"}, "description": "What for."},
                "most": {"type": "integer", "default": 3},
                "kind": {"type": "string", "enum": ["page", "image"]},
            },
            "required": ["words"],
        },
    },
}
OTHER_CALL = {
    "type": "function",
    "id": "123456789",
    "function": {"name": "search", "arguments": {"words": ["é", "b"], "most": 2}},
}
CALLS = Message("assistant", "", tool_calls=(WITH_ID,))
RESULT = Message("tool", "42", extra={"name": "weather", "tool_call_id": "abcdefghi"})
OTHER_RESULT = Message("tool", "none", extra={"name": "search", "tool_call_id": "123456789"})
SYSTEM = Message("system", "Be brief.")


def turns(*messages: Message, tools: Sequence[Any] = ()) -> Conversation:
    return Conversation(messages, tools=tuple(tools))


MORE_SHAPES = {
    "thoughts in the last": turns(ASK, ANSWER, ASK, thinking("Two.", "Hm.")),
    "thoughts in all": turns(SYSTEM, ASK, thinking("One.", "Oh."), ASK, thinking("Two.", "Hm.\n\nWell.")),
    "thoughts in the first": turns(ASK, thinking("One.", "Oh."), ASK, ANSWER),
    "thoughts within the words": turns(
        ASK, Message("assistant", "<think>\nOh.\n</think>\n\nOne."), ASK, ANSWER
    ),
    "thoughts around calls": turns(
        ASK,
        thinking("", "I should look.", tool_calls=(WITH_ID,)),
        RESULT,
        thinking("42.", "There it is."),
        tools=[TOOL],
    ),
    "call": turns(SYSTEM, ASK, CALLS, RESULT, ANSWER, tools=[TOOL]),
    "call without tools": turns(ASK, CALLS, RESULT, ANSWER),
    "call and words": turns(ASK, replace(CALLS, content="I look."), RESULT, ANSWER, tools=[TOOL]),
    "calls": turns(
        ASK,
        replace(CALLS, tool_calls=(WITH_ID, OTHER_CALL)),
        RESULT,
        OTHER_RESULT,
        ANSWER,
        tools=[TOOL, OTHER_TOOL],
    ),
    "call as JSON text": turns(
        ASK,
        replace(
            CALLS, tool_calls=({**WITH_ID, "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},)
        ),
        RESULT,
        ANSWER,
        tools=[TOOL],
    ),
    "calls in several turns": turns(
        SYSTEM,
        ASK,
        CALLS,
        RESULT,
        ANSWER,
        ASK,
        replace(CALLS, tool_calls=(OTHER_CALL,)),
        OTHER_RESULT,
        ANSWER,
        tools=[TOOL, OTHER_TOOL],
    ),
    "call last": turns(ASK, CALLS, tools=[TOOL]),
    "tools but no call": turns(SYSTEM, ASK, ANSWER, ASK, ANSWER, tools=[OTHER_TOOL]),
    "empty answer": turns(ASK, Message("assistant", ""), ASK, ANSWER),
    "white space": turns(ASK, Message("assistant", "\n So.  \n"), Message("user", " x "), ANSWER),
    "two questions": turns(ASK, ASK, ANSWER),
    "question only": turns(ASK),
    "system only and question": turns(SYSTEM, ASK),
    "many": said(*[("user", "q"), ("assistant", "a")] * 5),
}
ALL_SHAPES = {**SHAPES, **MORE_SHAPES}


def tokenizer_with(template: str, original: Original, markers: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(TINY)
    tokens = {original.bos, original.eos, *markers} - {""}
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in sorted(tokens)])
    known = names_asked_for(template)
    options = {name: value for name, value in original.options.items() if name in known}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=with_defaults(template, options),
        bos_token=original.bos or None,
        eos_token=original.eos,
        clean_up_tokenization_spaces=False,
    )


def trained_with(original: Original) -> PreTrainedTokenizerFast:
    """Return a tokenizer that `model.chat_template` has given the training template."""
    training = BY_NAME[original.training_template]
    tokenizer = tokenizer_with(original.template, replace(original, options={}), training.markers)
    choose_template(tokenizer, training.name, "a model", original.options)
    return tokenizer


def shown(tokenizer: Any, row: Conversation, *, asks: bool) -> str | None:
    """Return the text of a row; None if the template refuses it."""
    turns = ShownTurns(row, tokenizer)
    try:
        return turns.prompt_after(len(row.messages)) if asks else turns.first(len(row.messages))
    except UnrenderableConversation:
        return None


def asked(text: str, original: Original) -> str:
    for old, new in original.asks:
        text = text.removesuffix(old) + new if text.endswith(old) else text
    return text


@EACH
@pytest.mark.parametrize("asks", [False, True])
def test_it_shows_what_the_own_template_shows_but_for_the_difference(original, asks):
    own, training = tokenizer_with(original.edited, original), trained_with(original)
    compared = 0

    with every_case() as cases:
        for shape, row in ALL_SHAPES.items():
            with cases.case(shape):
                expected = shown(own, row, asks=asks)
                compared += expected is not None
                if expected is not None:
                    found = shown(training, row, asks=asks)
                    assert found == (asked(expected, original) if asks else expected)

    assert compared >= 10


@EACH
def test_our_masks_take_whatever_it_shows_and_find_what_it_marks(original):
    tokenizer = trained_with(original)
    taken = []

    with every_case() as cases:
        for shape, row in ALL_SHAPES.items():
            with cases.case(shape):
                try:
                    text, spans = render_text(row, tokenizer, "assistant")
                except UnrenderableConversation:
                    continue
                except UnusableTemplate as error:
                    if not is_asked_otherwise(original, error):
                        raise
                    continue
                taken.append(shape)
                if row.messages[0].role != "assistant" and all(
                    message.is_trained for message in row.messages
                ):
                    assert [text[a:b] for a, b in spans] == marked(tokenizer, row)

    assert {"single", "many turns", "emoji"} <= set(taken)


def is_asked_otherwise(original: Original, error: UnusableTemplate) -> bool:
    """Return whether the row has thoughts where the prompt says there are none, or the other way round."""
    return bool(original.options) and "begins messages" in str(error)


def marked(tokenizer: Any, row: Conversation) -> list[str]:
    """Return what stands between the `generation` marks of a text."""
    messages = ShownTurns(row, tokenizer)._messages
    texts, places = render_jinja_template(
        conversations=[messages],
        tools=[dict(tool) for tool in row.tools] or None,
        chat_template=tokenizer.chat_template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return [texts[0][a:b].rstrip() for a, b in places[0]]


@EACH
def test_a_model_without_a_template_of_its_own_is_trained_in_the_same_way(original):
    training = BY_NAME[original.training_template]
    tokenizer = tokenizer_with("", replace(original, options={}), training.markers)

    choose_template(tokenizer, training.name, "a model", original.options)

    for shape in ("single", "many turns", "thoughts"):
        row, with_own = ALL_SHAPES[shape], trained_with(original)
        assert outcome_of(row, tokenizer) == outcome_of(row, with_own), shape


def outcome_of(row: Conversation, tokenizer: Any) -> Any:
    try:
        return render_text(row, tokenizer, "assistant")
    except (UnrenderableConversation, UnusableTemplate) as error:
        return type(error)


@EACH
def test_earlier_turns_never_change(original):
    tokenizer = trained_with(original)

    with every_case() as cases:
        for shape, row in ALL_SHAPES.items():
            whole = shown(tokenizer, row, asks=False)
            answers = [i for i, message in enumerate(row.messages) if message.role == "assistant" and i]
            for i in answers if whole else []:
                with cases.case(f"{shape}, {i}"):
                    prompt = shown(tokenizer, replace(row, messages=row.messages[:i]), asks=True)
                    through = shown(tokenizer, replace(row, messages=row.messages[: i + 1]), asks=False)
                    assert whole.startswith(through)
                    assert through.startswith(prompt) or original.options


@pytest.mark.parametrize("original", TRAIN_AS_THEY_ARE, ids=[original.name for original in TRAIN_AS_THEY_ARE])
def test_an_own_template_that_needs_no_other_never_hinders_a_row_that_it_shows(original):
    tokenizer = tokenizer_with(original.template, original, MARKERS_OF_THOSE[original.name])
    refused = []

    for shape, row in ALL_SHAPES.items():
        try:
            _, spans = render_text(row, tokenizer, "assistant")
        except UnrenderableConversation:
            refused.append(shape)
        else:
            answers = [message for message in row.messages if message.role == "assistant"]
            assert len(spans) == sum(message.is_trained for message in answers), shape

    thoughts = {shape for shape in ALL_SHAPES if "thoughts" in shape} - {"thoughts within the words"}
    tools = {shape for shape in ALL_SHAPES if "call" in shape or "tools" in shape}
    hidden = {"phi-4-mini": tools, "qwen3-coder": {"call as JSON text"}}.get(original.name, set())
    assert set(refused) == thoughts | hidden


# ---- the registry


def test_every_file_is_in_the_registry_and_in_the_settings():
    names = [template.name for template in TRAINING_TEMPLATES]

    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(names)
    assert list(model_settings.TRAINING_TEMPLATES) == names
    assert {original.training_template for original in ORIGINALS} == set(names)


def test_the_committed_page_shows_what_the_templates_show():
    committed = document_templates.PAGE.read_text(encoding="utf-8")

    assert committed == document_templates.page(), "run: python -m scripts.document_templates"


@pytest.mark.parametrize("template", TRAINING_TEMPLATES, ids=lambda template: template.name)
def test_none_asks_for_the_date_or_costs_much(template):
    assert "strftime_now" not in template.text
    assert try_template(TemplateOrder(template=template.text)).is_modest


@EACH
def test_a_model_is_recognized_with_and_without_a_template_of_its_own(original):
    markers = BY_NAME[original.training_template].markers
    own = tokenizer_with(original.template, replace(original, options={}), markers)
    bare = tokenizer_with("", replace(original, options={}), markers)

    assert fitting_template(own) == original.training_template
    assert fitting_template(bare) in {
        one.name for one in TRAINING_TEMPLATES if set(one.markers) <= bare.get_vocab().keys()
    }
    assert fitting_template(trained_with(original)) == original.training_template


def test_other_models_get_chatml_if_they_have_its_markers():
    class Bare:
        chat_template = unk_token = unk_token_id = None
        convert_tokens_to_ids = {"a": 0}.get

    assert fitting_template(tiny.tokenizer()) == "chatml"
    assert fitting_template(Bare()) is None


@pytest.mark.parametrize("unknown", [None, "?"])
def test_a_vocabulary_has_its_tokens_and_no_others(unknown):
    vocabulary = {"a": 0, "?": 1}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="?")),
        unk_token=unknown,
        additional_special_tokens=["<x>"],
    )

    asked = Vocabulary(tokenizer)

    assert {token for token in ("a", "?", "<x>", "b", "") if token in asked} == tokenizer.get_vocab().keys()
