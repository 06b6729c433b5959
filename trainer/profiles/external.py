"""Find profiles that are not part of this program: in installed packages, and in single files.

Their code counts among what decides about tokens, so its hash comes with them.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType
from typing import Any

from trainer.profiles.base import BrokenProfile, DataProfile
from trainer.protocol.text import printable

GROUP = "training_daemon.profiles"
SUFFIX = ".py"


@dataclass(frozen=True)
class FoundProfile:
    """A class of profiles, and the hash of its code."""

    make: Callable[[dict[str, Any]], DataProfile]
    code: str


def names_installed() -> list[str]:
    """Return the names of the profiles in installed packages."""
    return sorted(point.name for point in entry_points(group=GROUP))


def hidden_by(built_in: Iterable[str]) -> list[str]:
    """Return a sentence for each profile in an installed package that can never be used, because of its name.

    Args:
        built_in: the names that are taken.
    """
    taken = frozenset(built_in)
    return [
        f'the profile "{point.name}" of {_owner(point)} ({point.value}) is never used, because a built-in '
        "profile has this name; give its entry point another name"
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
        if point.name in taken
    ]


def find_installed(name: str) -> FoundProfile | None:
    """Return the profile that an installed package offers under a name; None if there is none.

    Raises:
        BrokenProfile: several packages do, or it cannot be loaded.
    """
    points = list(entry_points(group=GROUP, name=name))
    if len(points) > 1:
        owners = " and ".join(sorted(f"{_owner(point)} ({point.value})" for point in points))
        raise BrokenProfile(
            f'profile.name is "{name}", which {owners} offer; expected one package; uninstall the others'
        )
    return _load_installed(points[0]) if points else None


def is_file(name: str) -> bool:
    """Whether a name means a class in a file, as in `path/to/profile.py:ClassName`."""
    return name.rpartition(":")[0].endswith(SUFFIX)


def find_in_file(name: str, base_dir: Path) -> FoundProfile:
    """Return the profile in a file, as the file is now.

    Args:
        name: `path/to/profile.py:ClassName`.
        base_dir: where a relative path starts.
    Raises:
        BrokenProfile: it cannot be loaded.
    """
    path_text, _, class_name = name.rpartition(":")
    path = base_dir / path_text
    try:
        source = path.read_bytes()
    except OSError as error:
        raise _unloadable(name, f"{path}: {error.strerror}", "a readable file") from error
    code = hashlib.sha256(source).hexdigest()
    spec = spec_from_loader(f"profile_{code[:16]}", _Source(source, path), origin=str(path))
    assert spec is not None
    module = module_from_spec(spec)
    assert spec.loader is not None
    sys.modules[spec.name] = module  # where dataclasses search for the module of a class
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # what code of others raises cannot be known
        what = f"{path}: {type(error).__name__}: {error}"
        raise _unloadable(name, what, "a module that can be imported") from error
    return FoundProfile(_class_in(vars(module).get(class_name), name), code)


class _Source(InspectLoader):
    """Loads a module from bytes that were read already: what runs is what was hashed.

    Python's own loader reads the file again, and may take compiled code of an earlier file of the same size.
    """

    def __init__(self, source: bytes, path: Path) -> None:
        self._source, self._path = source, path

    def get_source(self, fullname: str) -> str:
        return self._source.decode()

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, str(self._path))


@cache  # a module is imported once in a process, so its hash stays the one of what was imported
def _load_installed(point: EntryPoint) -> FoundProfile:
    name = point.name
    try:
        code = _hash_of(_sources(point), f"{_owner(point)} {point.dist.version if point.dist else ''}")
        loaded = point.load()
    except (Exception, SystemExit) as error:  # what code of others raises cannot be known
        what = f"{_owner(point)} ({point.value}): {type(error).__name__}: {error}"
        raise _unloadable(name, what, "an entry point that can be loaded") from error
    return FoundProfile(_class_in(loaded, name), code)


def _sources(point: EntryPoint) -> list[Path]:
    """Return the modules of the package that an entry point is in."""
    top = point.module.partition(".")[0]
    spec = find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {top}")
    if spec.submodule_search_locations is None:
        return [Path(str(spec.origin))]
    return [path for folder in spec.submodule_search_locations for path in Path(folder).rglob(f"*{SUFFIX}")]


def _hash_of(files: Iterable[Path], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for path in sorted(files):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "a package"


def _class_in(found: object, name: str) -> type[DataProfile]:
    if not (isinstance(found, type) and issubclass(found, DataProfile)):
        shown = "nothing" if found is None else repr(found)
        raise _unloadable(name, shown, "a subclass of trainer.profiles.base.DataProfile")
    return found


def _unloadable(name: str, found: str, expected: str) -> BrokenProfile:
    return BrokenProfile(
        f'profile.name is "{name}", but loading it gave {printable(found)}; expected {expected}; correct it, '
        "or set another profile.name"
    )
