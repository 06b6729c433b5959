"""`training_data value`: what training a file achieved."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.fault_words import NO_LOSS
from daemon.cli.options import BaseDir, Json, client_of, say
from daemon.cli.validation_text import before_and_after
from trainer.protocol.places import OPEN_STATES, Outcome
from trainer.protocol.text import duration_text, num_of

if TYPE_CHECKING:
    from daemon.client.results import FileValue

app = typer.Typer()


@app.command(epilog="Example:\n\n\b\n  training_data value chat.jsonl")
def value(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A trained file, as the queue shows it, or a job id."),
    ],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show what training a file achieved. Losses before and after it, steps, tokens, time."""
    found = client_of(base_dir).history.value_of(name)
    if as_json:
        print(json.dumps({**asdict(found), "validation_change": found.change}, indent=2))
    else:
        for line in _lines(found):
            say(line)


def _lines(found: "FileValue") -> Iterator[str]:
    yield f"{found.name} (job {found.job}): {found.state}"
    if not found.steps and found.state in (Outcome.FAILED, Outcome.SKIPPED):
        yield "no step of it is in the model"  # it may have had some, from which the model went back
        yield f"training_queue show {found.job} says why"
        return
    if not found.steps:
        yield "it has taken no step yet"
        return
    trained = f"{num_of(found.rows_trained, 'row')} trained in {num_of(found.steps, 'step')}"
    yield f"{trained}, {found.tokens:,} tokens, {duration_text(found.seconds)}"
    first, last = _loss(found.first_loss), _loss(found.last_loss)
    yield f"training loss: {first} in its first step, {last} in its last"
    yield f"validation loss: {_validation_text(found)}"
    if found.other_steps:
        steps = num_of(found.other_steps, "step")
        yield f"other jobs took {steps} in between, which also affected the result"


def _validation_text(found: "FileValue") -> str:
    before, after = found.before, found.after
    if before is None and after is None:
        return (
            "not measured before or after it; with validation.file in config.json, it is measured at the end "
            "of each file"
        )
    return before_and_after(before, after, found.change, is_open=found.state in OPEN_STATES)


def _loss(loss: float | None) -> str:
    return NO_LOSS if loss is None else f"{loss:.4f}"
