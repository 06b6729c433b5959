"""What a chat template drops of a tool's schema is named, with the tool and the keys that lead to it."""

from typing import Any

from tests.support import every_case
from tests.trainer.data.rendering.test_parts import ANSWERED, ASKED, COMPLETE, TOOLS, renderer, talk
from trainer.data.rendering.render import ExampleRenderer

EACH_TOOL = "{%- for tool in tools or [] -%}{%- set f = tool.function -%}{{ f.name + f.description }}"
EACH_PARAMETER = "{%- for name, spec in f.parameters.properties.items() -%}{{ name + ': ' }}"
ENDS = "{%- endfor -%}{%- endfor -%}"


def shows(of_parameter: str) -> str:
    """Return a template that shows so much of each parameter."""
    return COMPLETE.replace(TOOLS, EACH_TOOL + EACH_PARAMETER + of_parameter + ENDS)


TYPE, MEANING, VALUES = "{{ spec.type }}", "{{ spec.description }}", "{{ spec.enum }}"
MAPPED_TYPE = "{{ 'number' if spec.type in ['integer', 'number'] else spec.type }}"
SHORT_MEANING = "{{ (spec.description or '')[:12] }}"
INNER = "{%- for inner in spec.properties or [] -%}{{ inner }}{%- endfor -%}"


def tool(name: str = "search", **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {
        "type": "function",
        "function": {"name": name, "description": "Finds things.", "parameters": parameters},
    }


PLAIN = tool(words={"type": "string", "description": "What for."})
NESTED = tool(
    words={"type": "string", "description": "What for."},
    where={"type": "object", "properties": {"city": {"type": "string", "description": "Its name."}}},
)
CHOICE = tool(kind={"type": "string", "description": "Of page.", "enum": ["page", "image"]})
NUMBERS = tool(most={"type": "integer", "description": "At most.", "minimum": 1, "default": 3})
BOTH = tool(words={"type": "string"}, most={"type": "integer"})
LISTED = tool(tags={"type": "array", "description": "Of page.", "items": {"type": "string"}})
OWN_TYPE = tool(words={"type": "str, optional", "description": "What for."})


def whole_report(ours: ExampleRenderer, *tools: dict[str, Any]) -> list[str]:
    return ours.all_lost_context(talk(ASKED, ANSWERED, tools=tools), train_on="assistant")


def lost(template: str, *tools: dict[str, Any]) -> str | None:
    return next(iter(whole_report(renderer(template), *tools)), None)


def test_what_is_dropped_of_a_schema_is_named_with_its_tool_and_keys():
    of = 'in the schema of the tool "search"'
    words = "parameters.properties.words"
    expected = [
        (COMPLETE, (PLAIN, NESTED, CHOICE, NUMBERS, LISTED, OWN_TYPE), None),
        (shows(TYPE + MEANING), (PLAIN,), None),
        (shows(TYPE), (PLAIN,), f"{words}.description {of}"),
        (shows(MEANING), (PLAIN,), f"{words}.type {of}"),
        (shows(TYPE), (BOTH,), None),
        (shows(MAPPED_TYPE), (BOTH,), None),
        (shows(""), (BOTH,), f"{words}.type {of}, and 1 more part of the tools' schemas"),
        (shows(MEANING), (OWN_TYPE,), f"{words}.type {of}"),
        (shows(TYPE + MEANING), (CHOICE,), f"parameters.properties.kind.enum {of}"),
        (shows(TYPE + MEANING + VALUES), (CHOICE,), None),
        (
            shows(TYPE + MEANING),
            (PLAIN, NUMBERS),
            f"parameters.properties.most.minimum {of}, and 1 more part of the tools' schemas",
        ),
        (shows(TYPE + MEANING), (LISTED,), f"parameters.properties.tags.items.type {of}"),
        (
            shows(TYPE + MEANING + INNER),
            (NESTED,),
            f"parameters.properties.where.properties.city.type {of}, and 1 more part of the tools' schemas",
        ),
    ]
    with every_case() as cases:
        for number, (template, tools, told) in enumerate(expected):
            with cases.case(f"{number}: {told}"):
                assert lost(template, *tools) == told


def test_a_description_that_is_cut_is_missed():
    long = tool(words={"type": "string", "description": "What to look for."})

    assert lost(shows(TYPE + SHORT_MEANING), PLAIN) is None
    assert "words.description" in str(lost(shows(TYPE + SHORT_MEANING), long))


def test_lines_that_each_begin_like_a_comment_are_found():
    two_lines = tool(words={"type": "string", "description": "What for.\nNot where."})
    commented = "{{ '// ' + spec.description | replace('\\n', '\\n// ') }}"

    assert lost(shows(TYPE + commented), two_lines) is None


def test_tools_that_are_not_shown_at_all_are_told_once():
    assert whole_report(renderer(COMPLETE.replace(TOOLS, "")), PLAIN) == [
        "the tools",
        "the schema of the tools",
    ]


def test_a_template_that_cannot_show_other_words_says_nothing():
    picky = "{{ raise_exception('no') if spec.minimum > 9 }}"

    assert lost(shows(MEANING + picky), NUMBERS) is None


def test_tools_of_the_same_structure_are_tried_once():
    ours = renderer(shows(TYPE + MEANING))
    other = tool("find", where={"type": "string", "description": "In which folder."})

    for one in (PLAIN, other):
        whole_report(ours, one)

    assert len(ours._schemas._structures) == 1
