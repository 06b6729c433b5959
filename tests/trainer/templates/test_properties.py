"""Of conversations made by chance, no word is lost, and none is trained that the assistant did not say.

Nothing here knows a template, or how the trainer reads one: words are told apart because each is said once.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pytest

from tests.support import every_case
from tests.trainer.templates.families import FAMILIES
from tests.trainer.templates.originals import ORIGINALS
from tests.trainer.templates.random_conversations import WORD, RandomConversation
from tests.trainer.templates.test_masks import MODES, TOKENIZERS, learned_turns
from tests.trainer.templates.test_training_templates import trained_with
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.example import IGNORED
from trainer.data.rendering.masks import TrainOn
from trainer.data.rendering.render import ExampleRenderer, UnrenderableConversation, UnusableTemplate
from trainer.model.training_templates import BY_NAME

CONVERSATIONS = 24
REFUSALS = (UnrenderableConversation, UnusableTemplate)
ENDS_OF_TRAINING_TEMPLATES = {
    "gemma-4": ["<turn|>", "<|tool_response>"],
    "glm-4.5": ["<|user|>", "<|observation|>"],
    "harmony": ["<|return|>", "<|call|>"],
}
BEFORE_END = {"command a": "<|END_RESPONSE|>"}
MARKS = {
    "gemma-4": "<|channel>thought<channel|>",
    "glm-4.5": "<think></think>",
    "harmony": "<|channel|>final<|message|>",
}


class Case:
    """A chat template, and how it writes an answer.

    Args:
        ends: the tokens with which a turn may end.
        marks: what the model may write before the words of an answer without thoughts.
    """

    def __init__(self, name: str, tokenizer: Any, ends: Sequence[str], marks: str = "") -> None:
        self.name = name
        self.ends = ends
        self.marks = marks
        self.renderer = ExampleRenderer(tokenizer)
        self._tokenizer = tokenizer

    def without_marks(self, piece: str) -> str:
        ends = (end for end in self.ends if piece.endswith(end))
        return squeezed(piece.removesuffix(next(ends, ""))).removeprefix(self.marks)

    def trained(self, row: Conversation, train_on: TrainOn) -> "Trained":
        """Return what the model sees of a row.

        Raises:
            UnrenderableConversation, UnusableTemplate: the row is refused.
        """
        [[example]] = self.renderer.render([row], max_length=100_000, train_on=train_on)
        tokens = zip(example.token_ids, example.labels, strict=True)
        runs = groupby(tokens, key=lambda token: token[1] != IGNORED)
        pieces = [[token for token, _ in run] for is_supervised, run in runs if is_supervised]
        if train_on != "all" and len(pieces) < len(learned_turns(row, train_on)):
            pieces = [part for piece in pieces for part in self._turns_in(piece)]
        decode = self._tokenizer.decode
        return Trained(decode(example.token_ids), [decode(piece) for piece in pieces])

    def _turns_in(self, piece: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield the turns of a piece in which several follow each other with nothing between them."""
        ends = {self._tokenizer(end, add_special_tokens=False).input_ids[-1] for end in self.ends}
        first = 0
        for place, token in enumerate(piece, start=1):
            if token in ends:
                yield piece[first:place]
                first = place
        yield from [piece[first:]] if piece[first:] else []


@dataclass(frozen=True)
class Trained:
    """What the model sees of a row, and what it is trained to produce, in a piece for each turn."""

    text: str
    pieces: list[str]

    @property
    def supervised_words(self) -> set[str]:
        return {word for piece in self.pieces for word in WORD.findall(piece)}


def templates() -> Iterator[Case]:
    for family in FAMILIES:
        ends = [BEFORE_END.get(family.name, "") + end for end in family.ends_of_turns]
        yield Case(family.name, TOKENIZERS[family.name], ends)
    for original in ORIGINALS:
        training = BY_NAME[original.training_template]
        ends = ENDS_OF_TRAINING_TEMPLATES.get(training.name, [training.end_of_turn])
        marks = MARKS.get(training.name, "") if original.options.get("enable_thinking", True) else ""
        yield Case(f"training template, {original.name}", trained_with(original), ends, marks)


def problems(case: Case, made: RandomConversation, train_on: TrainOn) -> list[str]:
    """Return what is wrong with how a row is trained.

    Raises:
        UnrenderableConversation, UnusableTemplate: the row is refused.
    """
    found = case.trained(made.row, train_on)
    turns = learned_turns(made.row, train_on)
    if train_on == "all":
        turns = [i for i, message in enumerate(made.row.messages) if message.is_trained]
    reported = case.renderer.lost_context(made.row, train_on=train_on)
    wrong = [*_lost(found, made, turns, reported), *_not_meant(found, made, turns, train_on)]
    if train_on == "all":
        return wrong
    if len(found.pieces) != len(turns):
        return [*wrong, f"{len(turns)} turns have {len(found.pieces)} pieces: {found.pieces}"]
    for piece, turn in zip(found.pieces, turns, strict=True):
        wrong += _wrong_in_piece(case, piece, made.row.messages[turn])
        wrong += _otherwise_in_other_context(case, made.row, turn, piece)
    return wrong


def _lost(
    found: Trained, made: RandomConversation, turns: Sequence[int], reported: Sequence[str]
) -> Iterator[str]:
    for word, owner in made.owners.items():
        if word not in found.text and (owner.turn in turns or owner.place not in reported):
            yield f"{owner.place} is lost, reported is {reported}"
        elif owner.turn in turns and word not in found.supervised_words:
            yield f"{owner.place} is not supervised"


def _not_meant(
    found: Trained, made: RandomConversation, turns: Sequence[int], train_on: TrainOn
) -> Iterator[str]:
    for word in found.supervised_words:
        owner = made.owners[word]
        is_context = owner.turn is None or made.row.messages[owner.turn].is_trained
        is_name_of_call = owner.kind == "tools"
        if owner.turn not in turns and not is_name_of_call and not (train_on == "all" and is_context):
            yield f"{owner.place} is supervised"


def _wrong_in_piece(case: Case, piece: str, message: Message) -> Iterator[str]:
    if not piece.endswith(tuple(case.ends)):
        yield f"{piece!r} does not end with {case.ends}"
    if message.extra:
        return
    if not message.tool_calls and case.without_marks(piece) != squeezed(message.content):
        yield f"{piece!r} is not {message.content!r}"
    if not case.marks and any(mark in piece.lower() for mark in ("think", "reason", "analysis")):
        yield f"{piece!r} thinks"


def _otherwise_in_other_context(case: Case, row: Conversation, turn: int, piece: str) -> Iterator[str]:
    """Compare with the same turn behind one question.

    It is the same whatever stands around it, but for its marks: who speaks next may end it in another way.
    """
    answer = replace(row.messages[turn], is_trained=True)
    alone = replace(row, messages=(Message("user", "Why?"), answer))
    try:
        [other] = case.trained(alone, "assistant").pieces
    except REFUSALS:
        return
    if case.without_marks(other) != case.without_marks(piece):
        yield f"{piece!r} is {other!r} behind one question"


def squeezed(text: str) -> str:
    return "".join(text.split())


CASES = list(templates())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_word_is_where_it_belongs_or_the_row_is_refused(case):
    accepted = 0

    with every_case() as each:
        for number in range(CONVERSATIONS):
            made = RandomConversation(f"{case.name} {number}", case.ends[0])
            train_on = MODES[number % len(MODES)]
            with each.case(f"conversation {number}, {train_on}"), suppress(*REFUSALS):
                assert problems(case, made, train_on) == []
                accepted += 1

    assert accepted, "rows that are all refused prove nothing"
