"""Show one row as the model would see it. A process of its own, because it loads a tokenizer, but no model.

python -m trainer.mains.show_row <order.json >answer.json
"""

import sys
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainer.config.schema import DataSettings, Settings
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import BadRow, content_of, lines_of, parse_row
from trainer.data.reading.unpacking import BadArchive
from trainer.data.rendering.example import IGNORED
from trainer.data.rendering.masks import ends_of_turns
from trainer.data.rendering.overlong import Piece
from trainer.data.rendering.refused_rows import message_with_way_out
from trainer.data.rendering.render import (
    ExampleRenderer,
    OverlongRow,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.mains.one_shot import serve
from trainer.profiles.registry import make_profile
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import OrderRefused
from trainer.protocol.show import Shown, ShownExample, ShownToken, ShowOrder

BAD_ROWS = (BadRow, BadArchive, UnrenderableConversation, OverlongRow)


def show(order: ShowOrder) -> Shown:
    """Return the row as it would be trained.

    Raises:
        OrderRefused: it would not be.
        Exception: whatever keeps a worker from loading its tokenizer.
    """
    try:
        return _show(order)
    except (*BAD_ROWS, UnusableTemplate) as error:
        fault = FaultKind.BAD_CONFIG if isinstance(error, UnusableTemplate) else FaultKind.BAD_DATA
        raise OrderRefused(f"{order.file}:{order.row}: {message_with_way_out(error)}", fault) from error


def _show(order: ShowOrder) -> Shown:
    settings, base_dir = Settings.model_validate(order.settings), Path(order.base)
    data = settings.data
    row = read_conversation(parse_row(_line(order, data)), data.fields)
    profile = make_profile(settings.profile.name, settings.profile.options, base_dir=base_dir)
    conversation = profile.transform(row, line_number=order.row)
    from trainer.model.tokenizer_only import load_tokenizer_only  # takes seconds; a bad row need not wait

    tokenizer = load_tokenizer_only(settings, profile, base_dir=base_dir)
    renderer = ExampleRenderer(tokenizer, caches=False)
    whole, *_ = renderer.pieces(
        conversation,
        max_length=sys.maxsize,
        overlong="truncate_right",
        train_on=data.train_on,
        quotes=data.quotes,
    )
    pieces = renderer.pieces(
        conversation,
        max_length=data.max_length,
        overlong=data.overlong,
        train_on=data.train_on,
        quotes=data.quotes,
    )
    used = {turn for piece in pieces for turn in piece.turns}
    return Shown(
        file=order.file,
        row=order.row,
        max_length=data.max_length,
        overlong=data.overlong,
        train_on=data.train_on,
        row_tokens=len(whole.tokens.ids),
        examples=tuple(shown_example(piece, tokenizer, data.max_length) for piece in pieces),
        missing_turns=tuple(turn for turn in whole.turns if turn not in used),
    )


def _line(order: ShowOrder, data: DataSettings) -> bytes:
    """Return one line of the file.

    Raises:
        BadRow: there is none of that number, or it cannot be a row.
        OSError: the file cannot be read.
    """
    number = 0
    limits = {"max_line_bytes": data.max_line_bytes, "max_unpacked_bytes": data.max_unpacked_bytes}
    for line in lines_of(Path(order.file), **limits):
        number = line.number
        if number == order.row:
            if line.is_blank:
                raise BadRow("the line is blank; expected one JSON object")
            return content_of(line, max_line_bytes=data.max_line_bytes)
    if not number:
        raise BadRow("the file has no rows; expected one with some")
    raise BadRow(f"no row has this number; expected one from 1 to {number:,}")


def shown_example(piece: Piece, tokenizer: Any, max_length: int) -> ShownExample:
    """Return a part of a row token by token."""
    example = piece.example(max_length)
    text, ends = ends_of_turns(piece.conversation, tokenizer)
    first = piece.first_token
    places = _places(text, piece.tokens.ids, tokenizer, first)[: len(example.token_ids)]
    offsets = [offset for offset, _ in places]
    texts = _texts_of(text, offsets, begins=offsets[0][0] if first and offsets else 0)
    return ShownExample(
        tokens=tuple(
            ShownToken(
                id=token,
                text=shown,
                trained=label != IGNORED and position > 0,  # nothing predicts the first
                turn=_turn_at(start, ends, piece.turns),
                quoted=is_quoted,
            )
            for position, (token, label, shown, ((start, _), is_quoted)) in enumerate(
                zip(example.token_ids, example.labels, texts, places, strict=True)
            )
        ),
        supervised_tokens=example.supervised_tokens,
        turns=piece.turns,
        cut_tokens=len(piece.tokens.ids) - len(example.token_ids),
        is_truncated=example.is_truncated,
    )


def _places(
    text: str, token_ids: Sequence[int], tokenizer: Any, first: int
) -> list[tuple[tuple[int, int], bool]]:
    """Return the characters of each token, from the first on, and whether it is one letter of a quote.

    Quoted control tokens come in letters.
    """
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    places: list[tuple[tuple[int, int], bool]] = []
    for token, (start, end) in list(zip(encoding["input_ids"], encoding["offset_mapping"], strict=True))[
        first:
    ]:
        if token_ids[len(places) : len(places) + 1] in ([], [token]):
            places.append(((start, end), False))
        else:
            letters = tokenizer(
                text[start:end],
                add_special_tokens=False,
                split_special_tokens=True,
                return_offsets_mapping=True,
            )
            places += [((start + a, start + b), True) for a, b in letters["offset_mapping"]]
    return places


def _texts_of(text: str, offsets: Sequence[tuple[int, int]], *, begins: int) -> list[str]:
    """Return what each token adds to the text, so that all together are the text without a gap."""
    ends = [begins]
    for _, end in offsets:
        ends.append(max(ends[-1], end))
    return [text[start:end] for start, end in pairwise(ends)]


def _turn_at(place: int, ends: Sequence[int], turns: Sequence[int]) -> int | None:
    """Return which turn of the row a character belongs to."""
    found = bisect_right(ends, place)
    return turns[found] if found < len(ends) else None


if __name__ == "__main__":
    serve(ShowOrder, lambda order, tell: show(order))
