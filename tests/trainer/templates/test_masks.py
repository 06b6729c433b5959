"""Of every family's template, in every shape, exactly the right tokens are learned; or it says why not.

There are two judges, and neither asks the product: the parts that each family says (`expected`), and the words that
a row gives, which a text must show and each of its supervised turns must end.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest

from tests.support import every_case
from tests.trainer.templates.expected import (
    Expected,
    Refusal,
    context_lost,
    expect,
    expect_row,
    given,
    learned_turns,
    squeezed,
)
from tests.trainer.templates.families import FAMILIES, Family
from tests.trainer.templates.shapes import CALL, MORE_SHAPES, SHAPES, TOOL, said
from tests.trainer.templates.tokenizers_of_families import RENDERERS, TOKENIZERS
from trainer.data.conversation import Conversation
from trainer.data.rendering.example import IGNORED
from trainer.data.rendering.render import (
    OverlongRow,
    UnrenderableConversation,
    UnusableTemplate,
    render_examples,
)

__all__ = [
    "CALL",
    "EACH_FAMILY",
    "MODES",
    "RENDERERS",
    "SHAPES",
    "TOKENIZERS",
    "TOOL",
    "outcome",
    "said",
    "shown",
]

POLICIES = ["truncate_left_turns", "truncate_right", "split", "drop", "fail"]
MODES = ["assistant", "last_assistant", "all"]
EVERY_SHAPE = {**SHAPES, **MORE_SHAPES}
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])


def modes_of(row: Conversation) -> list[str]:
    """Return the modes that differ: with one answer, it is the last one, too."""
    has_many = learned_turns(row, "assistant") != learned_turns(row, "last_assistant")
    return MODES if has_many else ["assistant", "all"]


CASES = [(shape, row, mode) for shape, row in EVERY_SHAPE.items() for mode in modes_of(row)]


def outcome(find: Callable[[], Any]) -> Any:
    """Return what is found, or which error says why not."""
    try:
        return find()
    except UnrenderableConversation:
        return UnrenderableConversation
    except UnusableTemplate:
        return UnusableTemplate
    except Refusal as refusal:
        return refusal


def shown(rows: Sequence[Sequence[Any]]) -> list[Expected]:
    return [Expected(example.token_ids, example.labels) for example in rows[0]]


def assert_as(found: Any, expected: Any) -> None:
    if isinstance(expected, Refusal):
        assert isinstance(found, type), found
        assert found in expected.kinds
    else:
        assert found == expected


@EACH_FAMILY
def test_text_and_mask_are_what_the_family_says(family):
    """Without caches every row is rendered in one mode only: those know no modes."""
    with every_case() as cases:
        for shape, row, train_on in CASES:
            with cases.case(f"{shape}, {train_on}"):
                ways: dict[str, Any] = {"max_length": 10_000, "train_on": train_on}

                expected = outcome(lambda row=row, mode=train_on: [expect(family, row, mode)])

                renderer = RENDERERS[family.name]
                found = outcome(lambda row=row, ways=ways: shown(renderer.render([row], **ways)))
                assert_as(found, expected)
                if not isinstance(expected, Refusal):
                    lost = renderer.lost_context(row, train_on=train_on)
                    assert set(lost) == context_lost(family, row, train_on)
                if train_on == "assistant":
                    tokenizer = TOKENIZERS[family.name]
                    found = outcome(
                        lambda row=row, ways=ways: shown(render_examples([row], tokenizer, **ways))
                    )
                    assert_as(found, expected)


def with_different_roles(
    cases: Sequence[tuple[str, Conversation, str]],
) -> list[tuple[str, Conversation, str]]:
    """Return one case of those whose turns have the same roles."""
    found: dict[Any, tuple[str, Conversation, str]] = {}
    for shape, row, train_on in cases:
        turns = [(m.role, m.is_trained, len(m.tool_calls), bool(m.extra)) for m in row.messages]
        found.setdefault((repr(turns), bool(row.tools), train_on), (shape, row, train_on))
    return list(found.values())


CUT = with_different_roles(CASES)
CUTS = [
    ("truncate_left_turns", 0.4),
    ("truncate_left_turns", 0.8),
    ("truncate_right", 0.6),
    ("split", 0.4),
    ("split", 0.8),
]


@EACH_FAMILY
def test_a_row_that_is_too_long_is_cut_where_the_family_says(family):
    """Which turns are kept is a matter of roles and lengths, so of shapes with the same roles one is cut."""
    with every_case() as cases:
        for shape, row, train_on in CUT:
            whole = outcome(lambda row=row, train_on=train_on: expect(family, row, train_on))
            if isinstance(whole, Refusal):
                continue  # refused at any length, as the test above sees
            for overlong, part in CUTS:
                max_length = int(part * len(whole.ids))
                with cases.case(f"{shape}, {train_on}, {overlong} at {max_length} tokens"):
                    assert_cut(family, row, train_on, overlong, max_length)
            with cases.case(f"{shape}, {train_on}, drop and fail"):
                assert_left_out(family, row, train_on, len(whole.ids))


def assert_cut(family: Family, row: Conversation, train_on: str, overlong: str, max_length: int) -> None:
    """Check what becomes of a row that has more than `max_length` tokens."""
    ways: dict[str, Any] = {"max_length": max_length, "overlong": overlong, "train_on": train_on}

    found = outcome(lambda: shown(RENDERERS[family.name].render([row], **ways)))

    assert_as(found, outcome(lambda: expect_row(family, row, train_on, overlong, max_length)))


def assert_left_out(family: Family, row: Conversation, train_on: str, length: int) -> None:
    """Check that a row of `length` tokens is not trained with room for one less, but with room for all."""
    ways: dict[str, Any] = {"max_length": length - 1, "train_on": train_on}
    renderer = RENDERERS[family.name]

    assert renderer.render([row], overlong="drop", **ways) == [()]
    with pytest.raises(OverlongRow, match=f"the row has {length} tokens"):
        renderer.render([row], overlong="fail", **ways)
