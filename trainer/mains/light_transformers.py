"""Let transformers read the files of its models once while it is imported. What it finds stays the same.

Of each of its 1,600 files of models it looks for `__all__` in every line, to know what is where; and twice,
as its cache of what it has read has room for 128 of 500 folders. That was a seventh of a worker's start. A
release that has no such functions is imported as it is.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

READER = "transformers.utils.import_utils"


def read_models_once() -> None:
    """Have the folders read quickly when transformers is imported; without effect if it was already."""
    if READER not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != READER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        functions = vars(module)
        read_folder = functions.get("create_import_structure_from_path")
        if read_uncached := getattr(read_folder, "__wrapped__", None):
            functions["create_import_structure_from_path"] = cache(read_uncached)
        if find_all := functions.get("fetch__all__"):
            functions["fetch__all__"] = _from_the_last(find_all)


def _from_the_last(find_all: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Return what gives `find_all` the end of a text, from the last line on that begins with `__all__`.

    That is the one it takes. Where no line break precedes it, the whole text is given.
    """
    return lambda text: find_all(text[text.rfind("\n__all__") + 1 :])
