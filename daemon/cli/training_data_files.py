"""`training_data convert | split | dedupe | sample | merge`: make new data files from existing ones."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from daemon.cli.data_files import Force, In, Out, Seed, open_files, refuse_empty, show_result
from daemon.cli.options import BaseDir, CommandFailed, Json, share_of
from daemon.data_tools import operations
from daemon.data_tools.express import Format, format_named
from daemon.data_tools.reading import DataFile, LeftOut
from daemon.data_tools.seen import Seen
from daemon.data_tools.writing import SUFFIX, new_file
from trainer.protocol.text import num_of, printable

if TYPE_CHECKING:
    from daemon.cli.json_outputs import NearPair
    from daemon.data_tools.seen_near import SeenNear

app = typer.Typer()

DEFAULT_SIMILARITY = 0.8  # as in the deep check
LEAST_SIMILARITY = 0.7  # below it hardly any pair would be found
ELSEWHERE = "give another folder with --into"
TEXT_SHOWN = 90  # characters of a row

FORMATS = "|".join(Format)


def _to_format(name: str) -> Format:
    try:
        return format_named(name)
    except ValueError as error:
        raise typer.BadParameter(
            f'"{printable(name)}" is not a format; expected one of {", ".join(Format)}'
        ) from error


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data convert alpaca.jsonl chat.jsonl --to messages\n"
    "  training_data convert table.csv rows.jsonl   columns become the keys of rows"
)
def convert(
    file: In,
    out: Out,
    to: Annotated[
        Format | None,
        typer.Option(
            "--to",
            parser=_to_format,
            metavar=FORMATS,
            help="The format of the new file. Without it, rows keep their keys.",
        ),
    ] = None,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Write a file in another format, or a table as JSON Lines. Reports what a format cannot represent.

    Reads JSON Lines, CSV, TSV, a JSON array, Parquet, Arrow, and a folder that datasets has saved.
    """
    if to is None:
        _copy_rows(file, out, force=force, base_dir=base_dir, as_json=as_json)
        return
    _convert([file], out, to, force=force, base_dir=base_dir, as_json=as_json)


def _copy_rows(file: Path, out: Path, *, force: bool, base_dir: Path | None, as_json: bool) -> None:
    left_out = LeftOut()
    with (
        open_files([file], base_dir, as_json=as_json) as [source],
        new_file(out, replace=force, inputs=[source.path]) as target,
    ):
        count = operations.copy_rows(source, target, left_out)
        refuse_empty(count, left_out)
    shown = printable(str(out))
    facts: dict[str, object] = {"file": shown, "rows": count, "losses": {}}
    show_result(facts, [f"wrote {num_of(count, 'row')} to {shown}"], left_out, as_json=as_json)


def _convert(
    files: list[Path], out: Path, to: Format, *, force: bool, base_dir: Path | None, as_json: bool
) -> None:
    left_out = LeftOut()
    with (
        open_files(files, base_dir, as_json=as_json) as sources,
        new_file(out, replace=force, inputs=[source.path for source in sources]) as target,
    ):
        done = operations.convert(sources, target, to, left_out)
        refuse_empty(done.rows, left_out)
    facts: dict[str, object] = {"file": printable(str(out)), "rows": done.rows, "losses": dict(done.losses)}
    lines = [f"wrote {num_of(done.rows, 'row')} to {printable(str(out))}"]
    lines += [f"lost in {num_of(count, 'row')}: {loss}" for loss, count in done.losses.most_common()]
    show_result(facts, lines, left_out, as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data split chat.jsonl --validation 0.02\n"
    "  training_data split chat.jsonl --validation 0.1 --by random --seed 7"
)
def split(
    file: In,
    validation: Annotated[
        str,
        typer.Option(
            "--validation", metavar="SHARE", help="Share of rows to keep for validation, such as 0.02 or 2%."
        ),
    ],
    by: Annotated[
        operations.By,
        typer.Option(
            "--by", help="hash: the same row lands on the same side in every file. random: by position."
        ),
    ] = "hash",
    seed: Seed = 0,
    into: Annotated[
        Path, typer.Option("--into", metavar="FOLDER", help="Where both files go.", show_default="here")
    ] = Path("."),
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Split a file into NAME.train.jsonl and NAME.validation.jsonl."""
    fraction = share_of("--validation", validation)
    stem = re.sub(rf"\{SUFFIX}(\.\w+)?$", "", file.name)  # also where it is compressed
    outs = [into / f"{stem}.{side}{SUFFIX}" for side in ("train", "validation")]
    left_out = LeftOut()
    with (
        open_files([file], base_dir, as_json=as_json) as [source],
        new_file(outs[0], replace=force, inputs=[source.path], elsewhere=ELSEWHERE) as training,
        new_file(outs[1], replace=force, inputs=[source.path], elsewhere=ELSEWHERE) as held_out,
    ):
        counts = operations.split(source, training, held_out, left_out, fraction=fraction, by=by, seed=seed)
        _refuse_one_sided(counts, fraction, left_out)
    names = [printable(str(out)) for out in outs]
    facts: dict[str, object] = {
        side: {"file": name, "rows": count}
        for side, name, count in zip(("training", "validation"), names, counts, strict=True)
    }
    lines = [f"wrote {num_of(count, 'row')} to {name}" for name, count in zip(names, counts, strict=True)]
    show_result(facts, lines, left_out, as_json=as_json)


def _refuse_one_sided(counts: tuple[int, int], fraction: float, left_out: LeftOut) -> None:
    refuse_empty(sum(counts), left_out)
    if not all(counts):
        if sum(counts) == 1:
            raise CommandFailed("there is only one row; expected at least two to split; nothing was written")
        side = "training" if counts[1] else "validation"
        raise CommandFailed(
            f"none of the {num_of(sum(counts), 'row')} would go to {side} with --validation {fraction:g}; "
            "give a different share, or another --seed; nothing was written"
        )


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data dedupe chat.jsonl chat-once.jsonl\n"
    "  training_data dedupe chat.jsonl --near --dry-run   show pairs, write nothing\n"
    "  training_data dedupe chat.jsonl chat-once.jsonl --near --similarity 0.9"
)
def dedupe(
    file: In,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="A new file; its name ends in .jsonl. Not with --dry-run."),
    ] = None,
    near: Annotated[
        bool, typer.Option("--near", help="Also drop rows that are nearly the same, with the same answers.")
    ] = False,
    similarity: Annotated[
        float | None,
        typer.Option(
            "--similarity",
            metavar="SHARE",
            min=LEAST_SIMILARITY,
            max=1.0,
            help="How much of their wording near rows share; only with --near.",
            show_default=str(DEFAULT_SIMILARITY),
        ),
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be dropped, and write nothing.")
    ] = False,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Keep the first of all rows with the same content. White space, case and metadata are ignored."""
    if (out is None) != is_dry_run:
        raise CommandFailed("give either OUT, the name of a new file, or --dry-run")
    if similarity is not None and not near:
        raise CommandFailed("--similarity is for --near; give both, or neither")
    threshold = DEFAULT_SIMILARITY if similarity is None else similarity
    left_out = LeftOut()
    with (
        open_files([file], base_dir, as_json=as_json) as [source],
        _target(out, source.path, replace=force) as target,
        closing(_seen(near=near, threshold=threshold)) as seen,
    ):
        kept, dropped = operations.dedupe(source, target, left_out, is_new=seen.add)
        refuse_empty(kept, left_out)
        pairs = [] if isinstance(seen, Seen) else _pairs(source, seen)
    found: dict[str, object] = {"rows": kept, "dropped": dropped}
    if near:
        found |= {"similarity": threshold, "pairs": pairs}
    written = {} if out is None else {"file": printable(str(out))}
    same = f"exact and near duplicates (similarity {threshold:g} or more)" if near else "duplicates"
    line = f"wrote {num_of(kept, 'row')} to {printable(str(out))}; {same} dropped: {dropped:,}"
    if out is None:
        line = f"would keep {num_of(kept, 'row')}; {same} that would be dropped: {dropped:,}"
    show_result(written | found, [*_pair_lines(source.name, pairs), line], left_out, as_json=as_json)


@contextmanager
def _target(out: Path | None, source: Path, *, replace: bool) -> Iterator[BinaryIO]:
    if out is None:
        with open(os.devnull, "wb") as nowhere:
            yield nowhere
        return
    with new_file(out, replace=replace, inputs=[source]) as target:
        yield target


def _seen(*, near: bool, threshold: float) -> "Seen | SeenNear":
    if not near:
        return Seen()
    from daemon.data_tools.seen_near import SeenNear  # loads numpy, which nothing else here needs

    return SeenNear(threshold=threshold)


def _pairs(source: DataFile, seen: "SeenNear") -> "list[NearPair]":
    """Return the first pairs of near rows, each with its texts."""
    lines = {line for match in seen.pairs for line in (match.line, match.other_line)}
    texts = operations.beginnings(source, lines, length=TEXT_SHOWN) if lines else {}
    return [
        {
            "line": match.line,
            "other_line": match.other_line,
            "similarity": round(match.similarity, 2),
            "text": texts.get(match.line, ""),
            "other_text": texts.get(match.other_line, ""),
        }
        for match in seen.pairs
    ]


def _pair_lines(name: str, pairs: "Sequence[NearPair]") -> Iterator[str]:
    for pair in pairs:
        places = f"{name}:{pair['line']} is nearly {name}:{pair['other_line']}"
        yield f"{places} (similarity {pair['similarity']:.2f})"
        yield f"    {pair['text']}"
        yield f"    {pair['other_text']}"


@app.command(epilog="Example:\n\n\b\n  training_data sample chat.jsonl look.jsonl --count 100 --seed 7")
def sample(
    file: In,
    out: Out,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many rows.")],
    seed: Seed = 0,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Draw a random sample of rows, in the order of the file."""
    left_out = LeftOut()
    with (
        open_files([file], base_dir, as_json=as_json, passes=2) as [source],
        new_file(out, replace=force, inputs=[source.path]) as target,
    ):
        num_rows = operations.sample(source, target, left_out, count=count, seed=seed)
    shown = printable(str(out))
    facts: dict[str, object] = {"file": shown, "rows": count, "of": num_rows}
    line = f"wrote {count:,} of {num_of(num_rows, 'row')} to {shown}"
    show_result(facts, [line], left_out, as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data merge monday.jsonl tuesday.jsonl week.jsonl\n"
    "  training_data merge alpaca.jsonl chat.jsonl all.jsonl --to messages"
)
def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE... OUT", help="Files to read, then the new file.")
    ],
    to: Annotated[
        Format | None,
        typer.Option(
            "--to",
            parser=_to_format,
            metavar=FORMATS,
            help="Convert all rows; needed if the formats differ.",
        ),
    ] = None,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Write the rows of several files into one, file after file."""
    *inputs, out = files
    if not inputs:
        raise CommandFailed(f"only {printable(str(out))} was given; expected files to read, then OUT")
    if to:
        _convert(inputs, out, to, force=force, base_dir=base_dir, as_json=as_json)
        return
    left_out = LeftOut()
    with (
        open_files(inputs, base_dir, as_json=as_json) as sources,
        new_file(out, replace=force, inputs=[source.path for source in sources]) as target,
    ):
        count = operations.merge(sources, target, left_out)
        refuse_empty(count, left_out)
    shown = printable(str(out))
    facts: dict[str, object] = {"file": shown, "rows": count, "files": len(inputs)}
    show_result(facts, [f"wrote {num_of(count, 'row')} to {shown}"], left_out, as_json=as_json)
