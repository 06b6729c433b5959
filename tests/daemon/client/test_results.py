"""Whatever the client answers has its type in `daemon.client.results`."""

import ast
import importlib
import inspect
import typing
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import daemon
from daemon.client import results
from daemon.client.backups import Backups
from daemon.client.checkpoints import Checkpoints
from daemon.client.client import Client
from daemon.client.compare import Comparisons
from daemon.client.consolidate import Consolidations
from daemon.client.data import Data
from daemon.client.disk import Disk
from daemon.client.flags import Flags
from daemon.client.forget import Forgets
from daemon.client.health import Health
from daemon.client.history import History
from daemon.client.live_curves import LiveCurves
from daemon.client.logs import Logs
from daemon.client.models import Models
from daemon.client.queue import Queue
from daemon.client.queue_pages import QueuePages
from daemon.client.rollback import Rollbacks
from daemon.client.settings import ClientSettings
from daemon.client.uploads import Uploads

PARTS = (
    *(Client, Backups, Checkpoints, Comparisons, Consolidations, Data, Disk, Flags, Forgets, Health),
    *(History, LiveCurves, Logs, Models, Queue, QueuePages, Rollbacks),
    *(ClientSettings, Uploads),
)
NOT_ANSWERS = {"Layout", "Version"}  # the latter is there as `ModelVersion`


def names_for_annotations(part: type) -> dict[str, Any]:
    """Return what a module sees, and what it would see if it were type checked."""
    module = inspect.getmodule(part)
    found = dict(vars(module))
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            source = importlib.import_module(node.module)
            found |= {alias.asname or alias.name: getattr(source, alias.name) for alias in node.names}
    return found


def classes_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from classes_in(argument)


def answers_of(part: type) -> Iterator[type]:
    known = names_for_annotations(part)
    for name, member in vars(part).items():
        if name.startswith("_"):
            continue
        match member:
            case property(fget=function) | cached_property(func=function):
                pass
            case function:
                pass
        if inspect.isfunction(function):
            yield from classes_in(typing.get_type_hints(function, known)["return"])


@pytest.mark.parametrize("part", PARTS)
def test_each_type_that_the_client_answers_with_is_there(part):
    ours = {
        answer.__name__
        for answer in answers_of(part)
        if answer.__module__.partition(".")[0] in (daemon.__name__, "trainer") and answer not in PARTS
    }

    assert ours - NOT_ANSWERS - set(results.__all__) == set()


def test_each_part_of_the_client_is_asked():
    parts = {answer for answer in answers_of(Client) if answer.__module__.startswith("daemon.client.")}

    assert {
        part
        for part in parts
        if not part.__name__.endswith(("File", "Obeyed", "Created", "Started", "Report", "Kept"))
    } | {Client} == set(PARTS)
