"""`pytest --quick`: without what takes long, and without whatever loads torch.

Nobody lists the others. In a quick run torch, what builds on it and sympy cannot be imported here: a module
or a test that tries to is skipped at that moment. A test that starts another process which loads torch says
so:

    @pytest.mark.loads_torch

If it does not, it fails in a quick run with the words below. What runs a whole daemon (the fixture `rig`) is
left out, too. What takes a second for another reason is marked

    @pytest.mark.long
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parent
LONG = ("crash", "end_to_end", "faults")
MARKS = ("loads_torch", "long")
DAEMON = "rig"
HEAVY = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "sympy")
NOT_HERE = """\
raise ImportError("a test of a quick run starts a process that loads torch; give it @pytest.mark.loads_torch")
"""


class Refusal(MetaPathFinder, Loader):
    """Skips whoever imports something heavy."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.partition(".")[0] in HEAVY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        pytest.skip(f"{spec.name} is not loaded in a quick run", allow_module_level=True)

    def exec_module(self, module: ModuleType) -> None:
        """Never called: there is no module."""


class Quick:
    """The plugin that a quick run has more."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="without-torch-")
        for name in HEAVY:
            Path(self._folder.name, f"{name}.py").write_text(NOT_HERE)
        found = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [self._folder.name, found]))
        sys.meta_path.insert(0, Refusal())

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.parent == TESTS and collection_path.name in LONG else None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if _is_left_out(item)]
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


def _is_left_out(item: pytest.Item) -> bool:
    return DAEMON in getattr(item, "fixturenames", ()) or any(map(item.get_closest_marker, MARKS))
