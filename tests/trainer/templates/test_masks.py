"""Of every family's template, in every shape, exactly the right tokens are learned; or it says why not.

The judge is `expected`, to whom each family says the parts of its text. `test_words` has another one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.support import every_case
from tests.trainer.templates.expected import (
    Expected,
    Refusal,
    context_lost,
    expect,
    expect_row,
    learned_turns,
)
from tests.trainer.templates.families import FAMILIES, Family
from tests.trainer.templates.shapes import CALL, MORE_SHAPES, SHAPES, TOOL, said
from tests.trainer.templates.tokenizers_of_families import RENDERERS, TOKENIZERS
from trainer.data.conversation import Conversation
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
    """Without caches, only some shapes are rendered, in one mode: no more is cached than roles and words."""
    with every_case() as cases:
        for shape, row, train_on in CASES:
            with cases.case(f"{shape}, {train_on}"):
                is_tried_alone = shape in SHAPES and train_on == "assistant"
                assert_rendered(family, row, train_on, is_tried_alone=is_tried_alone)


def assert_rendered(family: Family, row: Conversation, train_on: str, *, is_tried_alone: bool) -> None:
    """Check a row, rendered with what is remembered of earlier ones, and by itself."""
    renderer = RENDERERS[family.name]
    ways: dict[str, Any] = {"max_length": 10_000, "train_on": train_on}

    expected = outcome(lambda: [expect(family, row, train_on)])

    assert_as(outcome(lambda: shown(renderer.render([row], **ways))), expected)
    if is_tried_alone:
        alone = outcome(lambda: shown(render_examples([row], TOKENIZERS[family.name], **ways)))
        assert_as(alone, expected)
    if not isinstance(expected, Refusal):
        assert set(renderer.lost_context(row, train_on=train_on)) == context_lost(family, row, train_on)


def with_different_roles(
    cases: Sequence[tuple[str, Conversation, str]],
) -> list[tuple[str, Conversation, str]]:
    """Return one case of those whose turns have the same roles."""
    found: dict[Any, tuple[str, Conversation, str]] = {}
    for shape, row, train_on in cases:
        turns = tuple((m.role, m.is_trained) for m in row.messages)
        found.setdefault((turns, train_on), (shape, row, train_on))
    return list(found.values())


CUT = with_different_roles(
    [
        (shape, row, mode)
        for shape, row, mode in CASES
        if mode != "last_assistant" or shape in ("many turns", "tools")
    ]
)
CUTS = [("truncate_left_turns", 0.4), ("truncate_left_turns", 0.8), ("truncate_right", 0.6), ("split", 0.5)]
REFUSED = ["idefics", "solar", "minicpm", "falcon"]
"""Families of which every answer is refused: they show no words, or end no turn."""
CUT_FAMILIES = [family for family in FAMILIES if family.name != "idefics"]


@pytest.mark.parametrize("family", CUT_FAMILIES, ids=[family.name for family in CUT_FAMILIES])
def test_a_row_that_is_too_long_is_cut_where_the_family_says(family):
    """Which turns are kept is a matter of roles and lengths, so of shapes with the same roles one is cut.

    Few are cut with `last_assistant`, which marks turns before anything is cut, and a row that is dropped or
    fails does so in one mode: nobody looks at its mask.
    """
    with every_case() as cases:
        for shape, row, train_on in CUT:
            whole = outcome(lambda row=row, train_on=train_on: expect(family, row, train_on))
            if isinstance(whole, Refusal):
                continue  # refused at any length, as the test above sees
            for overlong, part in CUTS:
                max_length = int(part * len(whole.ids))
                with cases.case(f"{shape}, {train_on}, {overlong} at {max_length} tokens"):
                    assert_cut(family, row, train_on, overlong, max_length)
            if train_on == "assistant":
                with cases.case(f"{shape}, drop and fail"):
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


def test_a_plain_answer_with_thoughts_or_without_is_shown_by_every_family_but_these():
    plain, thinks = EVERY_SHAPE["single"], EVERY_SHAPE["thoughts"]

    def refused(row: Conversation) -> set[str]:
        found = {family.name: outcome(lambda f=family: expect(f, row, "assistant")) for family in FAMILIES}
        return {name for name, one in found.items() if isinstance(one, Refusal)}

    asks_for_what_it_never_shows = {"deepseek r1", "deepseek 3.1 that thinks", "qwq", "gemma 4"}
    assert len(FAMILIES) >= 60
    assert refused(plain) & refused(thinks) == {*REFUSED, *asks_for_what_it_never_shows, "functionary"}
