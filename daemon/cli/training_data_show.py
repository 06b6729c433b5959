"""`training_data show`: the tokens of one row as the model sees them, and which of them are learned."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.ask_process import ask
from daemon.cli.data_files import In, settings_for
from daemon.cli.options import BaseDir, CommandFailed, Json, layout_of
from daemon.cli.training_data_report import progress_words
from daemon.data_tools.shown_row import ShownExample, ShownRow, runs
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

app = typer.Typer()

RENDERING = "trainer.show"
LEARNED, CONTEXT = "bold green", "dim"
OPEN, CLOSE = "⟦", "⟧"  # seldom in data, other than plain brackets


@app.command(epilog="Example:\n\n\b\n  training_data show chat.jsonl --row 17")
def show(
    file: In,
    row: Annotated[
        int, typer.Option("--row", metavar="N", min=1, help="Its line in the file, counted from 1.")
    ],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show a row as the model sees it: what is learned, and what is only context."""
    layout = layout_of(base_dir)
    if not file.is_file():
        raise CommandFailed(f"{printable(str(file))} is not a file; expected one with rows")
    order = {
        "file": str(file.resolve()),
        "row": row,
        "settings": settings_for(layout.base).model_dump(mode="json"),
        "base": str(layout.base),
    }
    with progress_words("loading the tokenizer", is_shown=sys.stderr.isatty() and not as_json) as tell:
        answer = ask(RENDERING, order, tell=tell)
    if as_json:
        print(json.dumps(json.loads(answer), indent=2))
        return
    from rich.console import Console

    _draw(Console(highlight=False), ShownRow.model_validate_json(answer))


def _draw(console: "Console", shown: ShownRow) -> None:
    from rich.text import Text

    has_colour = console.is_terminal and not console.no_color
    if not shown.examples:
        console.print("nothing of this row is trained")
        return
    console.print(_legend(has_colour=has_colour), soft_wrap=True)
    for number, example in enumerate(shown.examples, start=1):
        if len(shown.examples) > 1:
            console.print(Text(f"\nexample {number} of {len(shown.examples)}", style="bold"))
        console.print(_text(example, has_colour=has_colour), soft_wrap=True)
        console.print(_counts(example))


def _legend(*, has_colour: bool) -> "Text":
    from rich.text import Text

    if not has_colour:
        return Text(f"{OPEN}learned{CLOSE} context\n")
    return Text.assemble(("learned", LEARNED), " ", ("context", CONTEXT), "\n")


def _text(example: ShownExample, *, has_colour: bool) -> "Text":
    from rich.text import Text

    text = Text()
    for trained, words in runs(example.tokens):
        if has_colour:
            text.append(words, style=LEARNED if trained else CONTEXT)
        else:
            text.append(f"{OPEN}{words}{CLOSE}" if trained else words)
    return text


def _counts(example: ShownExample) -> str:
    total, trained = len(example.tokens), example.num_trained
    return f"\n{total:,} tokens, {trained:,} of them learned ({trained / max(1, total):.1%})"
