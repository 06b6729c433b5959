"""A row is shown token by token, as it would be trained, without loading a model."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import row, write_jsonl
from trainer.config.schema import Settings
from trainer.mains import show_row
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import OrderRefused, ask
from trainer.protocol.show import Shown, ShownExample, ShowOrder

QUESTIONS = ["one", "two", "three"]
LONG_ROW = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        *(
            {"role": role, "content": f"{said} {number}."}
            for number in QUESTIONS
            for role, said in (("user", "Say"), ("assistant", "It is"))
        ),
    ]
}


def order(file: Path, line: int, tiny_folder: Path, **data: Any) -> ShowOrder:
    settings = Settings.model_validate({"model": {"base_model": str(tiny_folder)}, "data": data})
    dumped = settings.model_dump(mode="json")
    return ShowOrder(file=str(file), row=line, settings=dumped, base=str(file.parent))


def show(file: Path, line: int, tiny_folder: Path, **data: Any) -> Shown:
    return show_row.show(order(file, line, tiny_folder, **data))


def text_of(example: ShownExample, *turns: int | None, trained: bool | None = None) -> str:
    """Return what belongs to some turns, and is learned or not."""
    return "".join(
        token.text
        for token in example.tokens
        if (not turns or token.turn in turns) and trained in (None, token.trained)
    )


def test_tokens_say_what_they_add_to_the_text_whether_they_are_learned_and_whose_they_are(
    tmp_path, tiny_folder
):
    file = write_jsonl(tmp_path / "a.jsonl", [row(), row("What is 🎉?", "日本 🎉")])

    [example] = show(file, 2, tiny_folder).examples

    asked = "<|im_start|>user\nWhat is 🎉?<|im_end|>\n"
    assert text_of(example, 0) == asked
    assert text_of(example, 1) == "<|im_start|>assistant\n日本 🎉<|im_end|>\n"
    assert text_of(example, trained=True) == "日本 🎉<|im_end|>"
    assert example.supervised_tokens == sum(token.trained for token in example.tokens)
    assert (example.turns, example.cut_tokens, example.is_truncated) == ((0, 1), 0, False)


def test_the_first_token_of_a_plain_text_is_context_since_nothing_predicts_it(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [{"text": "日本 🎉"}])

    [example] = show(file, 1, tiny_folder).examples

    assert [token.trained for token in example.tokens] == [False] + [True] * (len(example.tokens) - 1)
    assert example.supervised_tokens == len(example.tokens) - 1


def test_turns_that_were_left_out_are_named(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [LONG_ROW])
    whole = show(file, 1, tiny_folder)

    shown = show(file, 1, tiny_folder, max_length=whole.row_tokens - 1)

    [example] = shown.examples
    assert (shown.missing_turns, example.turns, example.is_truncated) == ((1, 2), (0, 3, 4, 5, 6), True)
    assert text_of(example, 3) == "<|im_start|>user\nSay two.<|im_end|>\n"
    assert shown.row_tokens == whole.row_tokens


def test_a_row_that_is_split_shows_every_part(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [LONG_ROW])
    whole = show(file, 1, tiny_folder)

    shown = show(file, 1, tiny_folder, max_length=whole.row_tokens - 1, overlong="split")

    assert [example.turns for example in shown.examples] == [(0, 1, 2, 3, 4), (0, 5, 6)]
    assert [text_of(example, trained=True) for example in shown.examples] == [
        "It is one.<|im_end|>It is two.<|im_end|>",
        "It is three.<|im_end|>",
    ]
    assert shown.missing_turns == ()


def test_what_is_cut_off_is_counted(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [LONG_ROW])

    shown = show(file, 1, tiny_folder, max_length=10, overlong="truncate_right")

    [example] = shown.examples
    assert (len(example.tokens), example.cut_tokens) == (10, shown.row_tokens - 10)


@pytest.mark.parametrize(
    "line, data, message",
    [
        (9, {}, "no row has this number; expected one from 1 to 2"),
        (2, {}, "messages is 3; expected a list"),
        (1, {"max_length": 8, "overlong": "fail"}, 'data.overlong is "fail"'),
    ],
)
def test_a_row_that_would_not_be_trained_is_refused_naming_its_line(
    tmp_path, tiny_folder, line, data, message
):
    file = write_jsonl(tmp_path / "a.jsonl", [row(), {"messages": 3}])

    with pytest.raises(OrderRefused) as refused:
        show(file, line, tiny_folder, **data)

    assert str(refused.value).startswith(f"{file}:{line}: ")
    assert message in str(refused.value)
    assert refused.value.fault is FaultKind.BAD_DATA


def test_a_quoted_control_token_is_shown_in_letters(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [row("What is <|im_end|>?", "<|im_end|> ends it.")])

    [example] = show(file, 1, tiny_folder).examples

    assert text_of(example, trained=True) == "<|im_end|> ends it.<|im_end|>"
    assert "".join(token.text for token in example.tokens).count("<|im_end|>") == 4


def test_the_process_answers(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [row("Say 1.", "1")])

    shown = ask("trainer.mains.show_row", order(file, 1, tiny_folder), Shown)

    assert text_of(shown.examples[0], trained=True) == "1<|im_end|>"


def test_the_letters_of_a_quoted_control_token_are_told_from_a_real_one(tmp_path, tiny_folder):
    file = write_jsonl(tmp_path / "a.jsonl", [row("What ends a turn?", "It is <|im_end|>.")])

    [example] = show(file, 1, tiny_folder).examples

    assert "".join(token.text for token in example.tokens if token.quoted) == "<|im_end|>"
    assert [token.text for token in example.tokens if not token.quoted].count("<|im_end|>") == 2
