"""`training_data show`: the tokens of one row as the model sees them, and which of them are supervised."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.data_files import In
from daemon.cli.options import BaseDir, Json, client_of
from daemon.cli.progress import progress_words
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from trainer.protocol.show import Shown, ShownExample, ShownToken

app = typer.Typer()

SUPERVISED, CONTEXT = "bold green", "dim"
OPEN, CLOSE = "⟦", "⟧"  # seldom in data, other than plain brackets
QUOTED = "underline"
OPEN_QUOTE, CLOSE_QUOTE = "⟨", "⟩"
QUOTE_LEGEND = "control token that is quoted, encoded as text"


@app.command(epilog="Example:\n\n\b\n  training_data show chat.jsonl --row 17")
def show(
    file: In,
    row: Annotated[
        int,
        typer.Option(
            "--row",
            metavar="N",
            min=1,
            help="Its line in the file, counted from 1; in a table, the row itself.",
        ),
    ],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show a row as the model sees it. Marks the supervised tokens; the rest is context."""
    client = client_of(base_dir)
    with progress_words("loading the tokenizer", is_shown=sys.stderr.isatty() and not as_json) as advance:
        answer = client.data.show(file, row, on_progress=advance)
    if as_json:
        print(json.dumps(answer.model_dump(mode="json"), indent=2))
        return
    from rich.console import Console

    _draw(Console(highlight=False), answer)


def _draw(console: "Console", shown: "Shown") -> None:
    from rich.text import Text

    has_colour = console.is_terminal and not console.no_color
    if shown.examples:
        has_quotes = any(token.quoted for example in shown.examples for token in example.tokens)
        console.print(_legend(has_colour=has_colour, has_quotes=has_quotes), soft_wrap=True)
    for number, example in enumerate(shown.examples, start=1):
        if len(shown.examples) > 1:
            console.print(Text(f"\nexample {number} of {len(shown.examples)}", style="bold"))
        console.print(text_of(example, has_colour=has_colour), soft_wrap=True)
        console.print(_counts(example), soft_wrap=True)
    for line in _untrained_lines(shown):
        console.print(Text(line), soft_wrap=True)


def _legend(*, has_colour: bool, has_quotes: bool) -> "Text":
    from rich.text import Text

    if not has_colour:
        quote = f" {OPEN_QUOTE}{QUOTE_LEGEND}{CLOSE_QUOTE}" if has_quotes else ""
        return Text(f"{OPEN}supervised{CLOSE} context{quote}\n")
    legend = Text.assemble(("supervised", SUPERVISED), " ", ("context", CONTEXT))
    if has_quotes:
        legend.append(" ").append(QUOTE_LEGEND, style=QUOTED)
    return legend.append("\n")


def text_of(example: "ShownExample", *, has_colour: bool) -> "Text":
    """Return the text of an example, with its supervised tokens marked."""
    from rich.text import Text

    text = Text()
    for trained, together in groupby(example.tokens, key=lambda token: token.trained):
        style = SUPERVISED if trained else CONTEXT
        brackets = (OPEN, CLOSE) if trained and not has_colour else ("", "")
        text.append(brackets[0])
        for quoted, words in _runs(list(together)):
            if has_colour:
                text.append(words, style=f"{style} {QUOTED}" if quoted else style)
            else:
                text.append(f"{OPEN_QUOTE}{words}{CLOSE_QUOTE}" if quoted else words)
        text.append(brackets[1])
    return text


def _runs(tokens: Sequence["ShownToken"]) -> Iterator[tuple[bool, str]]:
    """Yield stretches of tokens that are all quoted or all not, as text that is safe for a terminal."""
    for quoted, together in groupby(tokens, key=lambda token: token.quoted):
        lines = "".join(token.text for token in together).split("\n")
        yield quoted, "\\n\n".join(map(printable, lines))


def _counts(example: "ShownExample") -> str:
    total, trained = len(example.tokens), sum(token.trained for token in example.tokens)
    cut = f"; {example.cut_tokens:,} more were cut off" if example.cut_tokens else ""
    return f"\n{total:,} tokens, {trained:,} of them supervised ({trained / max(1, total):.1%}){cut}"


def _untrained_lines(shown: "Shown") -> Iterator[str]:
    """Say what of the row is not trained, and by which settings."""
    rule = f"data.max_length is {shown.max_length:,}, data.overlong is {shown.overlong}"
    if not shown.examples:
        yield f"nothing of this row is trained: it has {shown.row_tokens:,} tokens ({rule})"
    elif shown.missing_turns:
        turns = ", ".join(f"messages[{turn}]" for turn in shown.missing_turns)
        yield f"left out: {turns}; the row has {shown.row_tokens:,} tokens ({rule})"
