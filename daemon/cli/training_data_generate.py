"""`training_data generate`: write a file of puzzles whose answers are computed."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli.data_files import Force, open_files
from daemon.cli.options import BaseDir, CommandFailed, Json
from daemon.data_tools.puzzles import generation
from daemon.data_tools.puzzles.skills import Skill
from daemon.data_tools.puzzles.space import LEVELS, NUM_SEEDS, TooFewPuzzles
from daemon.data_tools.reading import DataFile, LeftOut
from daemon.data_tools.writing import new_file
from trainer.protocol.text import num_of, printable

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data generate syllo --count 500 --difficulty 3 --seed 1 \\\n"
    "      --out validation.jsonl\n"
    "  training_data generate syllo --count 20000 --difficulty 3 --seed 2 \\\n"
    "      --out syllo.jsonl"
)
def generate(
    skill: Annotated[
        Skill,
        typer.Argument(
            metavar="SKILL", help="syllo: what follows? arithmetic: compute. symbolic: evaluate, simplify."
        ),
    ],
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many rows.")],
    difficulty: Annotated[
        int,
        typer.Option("--difficulty", metavar="N", min=LEVELS[0], max=LEVELS[-1], help="1 is the easiest."),
    ],
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=NUM_SEEDS - 1,
            help="Files with different seeds have no puzzle in common.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="A new file; its name ends in .jsonl.")],
    without: Annotated[
        list[Path] | None,
        typer.Option("--without", metavar="FILE", help="Leave out the questions in FILE; may be repeated."),
    ] = None,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Write puzzles, each with its one correct answer. The same options give the same file."""
    run = generation.Run(skill=skill, difficulty=difficulty, seed=seed, count=count)
    with (
        open_files(without or [], base_dir, as_json=as_json) as files,
        new_file(out, replace=force, inputs=[file.path for file in files]) as target,
    ):
        kept_out = _questions_in(files)
        try:
            rows = generation.generate(run, kept_out=kept_out)
            for row in _shown(rows, count, is_shown=sys.stderr.isatty() and not as_json):
                target.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        except TooFewPuzzles as error:
            raise CommandFailed(
                f"{skill} at difficulty {difficulty}: {error}; give a smaller --count or another "
                "--difficulty, or combine files of several seeds; nothing was written"
            ) from error
    facts: dict[str, object] = {
        "file": printable(str(out)),
        "rows": count,
        "skill": skill.value,
        "difficulty": difficulty,
        "seed": seed,
    }
    print(json.dumps(facts) if as_json else f"wrote {num_of(count, 'row')} to {printable(str(out))}")


def _questions_in(files: list[DataFile]) -> set[bytes]:
    """Return what is asked in files that were kept for validation; every row counts."""
    unread = LeftOut()
    questions = generation.questions_in(files, unread)
    if unread.count:
        raise CommandFailed(
            f"{unread.first[0]}; correct or remove this row, because its question cannot be left out "
            "otherwise; "
            "nothing was written"
        )
    return questions


def _shown(rows: Iterable[dict[str, Any]], count: int, *, is_shown: bool) -> Iterable[dict[str, Any]]:
    """Return `rows`, with a bar that shows how far they are taken."""
    if not is_shown:
        return rows
    from rich.console import Console
    from rich.progress import track

    return track(rows, "generating", total=count, console=Console(stderr=True), transient=True)
