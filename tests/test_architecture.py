"""The rules that keep the house in order, checked against the code itself."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("trainer", "daemon")
HEAVY = ("torch", "transformers", "accelerate", "tensorboard", "wandb", "mlflow", "apprise")

# Each room (a folder of code) -> the rooms it may import from. Standing in a room is always allowed.
_READ_DATA = {"trainer.data", "trainer.data.reading", "trainer.data.formats"}
_RENDER_DATA = _READ_DATA | {"trainer.data.rendering", "trainer.data.checks"}
_GROUND = {"trainer.protocol", "trainer.config"}
ARROWS: dict[str, set[str]] = {
    "trainer": set(),
    "trainer.protocol": {"trainer"},
    "trainer.config": {"trainer.protocol"},
    "trainer.data": {"trainer.protocol"},
    "trainer.data.reading": {"trainer.protocol"},
    "trainer.data.formats": {"trainer.data", "trainer.data.reading", "trainer.protocol"},
    "trainer.data.rendering": _READ_DATA | {"trainer.protocol"},
    "trainer.data.checks": _READ_DATA | {"trainer.data.rendering", "trainer.protocol"},
    "trainer.profiles": {"trainer.data", "trainer.protocol"},
    "trainer.reporting": {"trainer.protocol"},
    "trainer.step": {"trainer.data.rendering", *_GROUND},
    "trainer.model": {"trainer.data", "trainer.data.rendering", "trainer.profiles", "trainer.step", *_GROUND},
    "trainer.distributed": {"trainer.data.rendering", "trainer.step", *_GROUND},
    "trainer.checkpoints": {"trainer.step", *_GROUND},
    "trainer.versions": {"trainer.protocol"},
    "trainer.disk": {"trainer.checkpoints", "trainer.versions", "trainer.protocol"},
    "trainer.backups": {"trainer.versions", "trainer.protocol"},
    "trainer.pipeline": {*_RENDER_DATA, "trainer.profiles", *_GROUND},
    "trainer.evaluation": {
        *_RENDER_DATA,
        *("trainer.pipeline", "trainer.profiles", "trainer.reporting", "trainer.step"),
        *_GROUND,
    },
    "trainer.session": {
        *_RENDER_DATA,
        *("trainer", "trainer.pipeline", "trainer.profiles", "trainer.reporting", "trainer.step"),
        "trainer.versions",
        *("trainer.model", "trainer.distributed", "trainer.checkpoints", "trainer.evaluation"),
        *_GROUND,
    },
    "trainer.forgetting": {
        *_RENDER_DATA,
        *("trainer.checkpoints", "trainer.versions", "trainer.disk", "trainer.session"),
        *_GROUND,
    },
    "trainer.mains": {
        *_RENDER_DATA,
        "trainer.forgetting",
        *("trainer.pipeline", "trainer.profiles", "trainer.step", "trainer.model"),
        *("trainer.distributed", "trainer.checkpoints", "trainer.disk", "trainer.session"),
        *("trainer.backups", "trainer.versions"),
        *_GROUND,
    },
    "daemon.files": {"trainer.protocol"},
    "daemon.control": {"trainer.protocol"},
    "daemon.checkpoints": {"trainer.protocol"},
    "daemon.ledger": {"daemon.files", "trainer.protocol"},
    "daemon.status": {"daemon.files", "trainer.protocol"},
    "daemon.journal.events": {"trainer.protocol"},
    "daemon.journal": {"daemon.journal.events", "daemon.ledger", "daemon.status", "trainer.protocol"},
    "daemon.settings": {"daemon.checkpoints", *_GROUND},
    "daemon.jobs": {
        "daemon.checkpoints",
        "daemon.journal.events",
        "daemon.files",
        "daemon.journal",
        "daemon.ledger",
        "trainer.protocol",
        "trainer.versions",
    },
    "daemon.intake": {
        "daemon.journal.events",
        *("daemon.files", "daemon.jobs", "daemon.journal", "daemon.status"),
        *("trainer.data.checks", "trainer.data.reading", *_GROUND),
    },
    "daemon.supervision": {
        "daemon.checkpoints",
        "daemon.journal.events",
        *("daemon.jobs", "daemon.journal", "daemon.ledger", "daemon.settings", "daemon.status"),
        *("trainer", *_GROUND),
    },
    "daemon": {
        "daemon.journal.events",
        *(
            "daemon.control",
            "daemon.files",
            "daemon.intake",
            "daemon.jobs",
            "daemon.journal",
            "daemon.ledger",
        ),
        *("daemon.settings", "daemon.status", "daemon.supervision", "daemon.backups"),
        "trainer.versions",
        *_GROUND,
    },
    "daemon.notify": {"daemon.journal", "daemon.ledger", "trainer", "trainer.protocol"},
    "daemon.tracking": {"daemon.ledger", *_GROUND},
    "daemon.health": {
        *("daemon.checkpoints", "daemon.control", "daemon.files", "daemon.intake", "daemon.jobs"),
        *("daemon.ledger", "daemon.status", "trainer.data", "trainer.data.reading", *_GROUND),
    },
    "daemon.diagnosis": {"daemon.ledger", "daemon.status", *_GROUND},
    "daemon.backups": {"daemon.ledger", *_GROUND},
    "daemon.client": {
        "daemon.backups",
        *("daemon.checkpoints", "daemon.control", "daemon.data_tools", "daemon.files", "daemon.health"),
        "daemon.diagnosis",
        *("daemon.data_tools.tables", "trainer.data.reading"),
        *("daemon.intake", "daemon.jobs", "daemon.journal", "daemon.ledger", "daemon.settings"),
        *("daemon.status", "daemon.supervision", "trainer.profiles", "trainer.versions", *_GROUND),
    },
    "daemon.data_tools.tables": {"trainer.data.reading", "trainer.protocol"},
    "daemon.data_tools": {"daemon.data_tools.tables", *_READ_DATA, "trainer.data.checks", *_GROUND},
    "daemon.data_tools.analysis": {"daemon.data_tools", "trainer.data", "trainer.protocol"},
    "daemon.data_tools.puzzles": {"daemon.data_tools", "trainer.data"},
    "daemon.mains": {"daemon.client", "trainer.protocol"},
    "daemon.monitor": {"trainer", "daemon.client", "daemon.diagnosis", *_GROUND},
    "daemon.cli": {
        "daemon.monitor",
        *("trainer", "daemon", "daemon.client", "daemon.data_tools", "daemon.data_tools.analysis"),
        "daemon.notify",
        *("daemon.data_tools.puzzles", *_GROUND),
    },
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


MODULES = dict(modules())


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def room_of(module: str) -> str:
    """Return the folder that a module stands in, as a dotted name."""
    return MODULES[module].parent.relative_to(ROOT).as_posix().replace("/", ".")


def own_imports(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, wherever in it that is done."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            names |= inside or {node.module}
    return {name for name in names if name.partition(".")[0] in PACKAGES}


def test_imports_run_along_the_arrows_only():
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in sorted(own_imports(path))
        if room_of(name) not in {room_of(module), *ARROWS[room_of(module)]}
    ]

    assert wrong == []


def test_every_room_has_its_arrows():
    assert {room_of(module) for module in MODULES} == ARROWS.keys()


def test_no_arrows_make_a_circle():
    TopologicalSorter(ARROWS).prepare()  # raises CycleError with the rooms


def test_no_modules_of_a_room_import_each_other():
    imports = {module: own_imports(path) & MODULES.keys() for module, path in MODULES.items()}

    TopologicalSorter({module: names - {module} for module, names in imports.items()}).prepare()


@pytest.mark.parametrize("forbidden", ["daemon.cli", "daemon.mains"])
def test_nothing_imports_what_only_draws_or_is_a_process(forbidden):
    assert [room for room, allowed in ARROWS.items() if forbidden in allowed] == []


def test_importing_every_module_of_the_daemon_loads_nothing_heavy():
    names = [name for name, _ in modules() if name.startswith("daemon")]
    code = f"import sys, {', '.join(names)}; print([m for m in {HEAVY} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        "trainer",
        "trainer.protocol.messages",
        "trainer.config.loader",
        "trainer.data.rendering.source",
        "trainer.mains.index_rows",
    ],
)
def test_the_ground_floor_of_the_trainer_loads_nothing_heavy(name):
    code = f"import sys, {name}; print([m for m in {HEAVY} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_the_folders_of_data_hold_no_code():
    for folder in ("inbox", "queue", "control", "status", "models"):
        assert not list((ROOT / folder).rglob("*.py")), folder


def test_no_top_level_package_hides_a_module_of_the_standard_library():
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]

    assert not set(packages) & sys.stdlib_module_names


def test_every_module_says_what_it_is_for():
    for _, path in modules():
        assert ast.get_docstring(tree_of(path)), path


def test_nothing_stands_at_the_top_but_what_belongs_there():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    tops = {name.partition("/")[0] for name in tracked if not name.startswith(".")}

    assert tops <= {
        *(
            "pyproject.toml",
            "trainer",
            "daemon",
            "queue",
            "inbox",
            "control",
            "status",
            "models",
            "config.json",
        ),
        *("scripts", "tests", "README.md", "docs", "CHANGELOG.md", "LICENSE", "requirements.lock"),
    }


@pytest.mark.parametrize("call", ["shell=True", "pickle", "eval(", "exec(", "os.system"])
def test_nothing_runs_text_as_code(call):
    for _, path in modules():
        if "pickle" in call:
            assert "import pickle" not in path.read_text(), path
        else:
            assert call not in path.read_text().replace("model.eval(", ""), path


def test_loading_never_trusts_code_that_comes_with_a_model():
    for _, path in modules():
        text = path.read_text()
        assert text.count("AutoTokenizer.from_pretrained(") + text.count(
            "ForCausalLM.from_pretrained("
        ) == text.count("trust_remote_code=False"), path
        assert text.count("torch.load(") == text.count("weights_only=True"), path
