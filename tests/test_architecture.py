"""The rules that keep the house in order, checked against the code itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("trainer", "daemon")
HEAVY = ("torch", "transformers", "accelerate")

# importer -> what it may import of our own code; the longest matching prefix counts
ARROWS = {
    "trainer.protocol": {"trainer.protocol"},
    "trainer.config": {"trainer.config", "trainer.protocol"},
    "trainer.data": {"trainer.data", "trainer.protocol"},
    # What a profile says of a row may hold the row's text, which is made printable in one place only
    "trainer.profiles": {"trainer.profiles", "trainer.data.conversation", "trainer.protocol.text"},
    "trainer.monitoring": {"trainer.monitoring", "trainer.protocol", "trainer.profiles.base"},
    "trainer.core": {
        "trainer",
        "trainer.core",
        "trainer.monitoring",
        "trainer.data",
        "trainer.config",
        "trainer.protocol",
        "trainer.profiles",
    },
    "trainer.worker": {
        "trainer.core",
        "trainer.config",
        "trainer.protocol",
        "trainer.profiles.base",
    },
    "trainer.follower": {
        "trainer.core",
        "trainer.config",
        "trainer.protocol",
        "trainer.worker",
    },
    "trainer.show": {
        "trainer.core",
        "trainer.config",
        "trainer.data",
        "trainer.profiles",
        "trainer.protocol",
        "trainer.worker",
    },
    "trainer.remember": {
        "trainer.core",
        "trainer.data",
        "trainer.protocol",
    },
    "trainer.dry_run": {
        "trainer.core",
        "trainer.config",
        "trainer.data",
        "trainer.protocol",
        "trainer.worker",
    },
    "trainer.inspect": {
        "trainer.core",
        "trainer.config",
        "trainer.data",
        "trainer.profiles",
        "trainer.protocol",
        "trainer.worker",
    },
    "daemon": {
        "daemon",
        "trainer",
        "trainer.protocol",
        "trainer.config",
        "trainer.data.rows",
        "trainer.data.formats",
        "trainer.data.conversation",
        "trainer.data.check",
        "trainer.data.plan",
        "trainer.data.row_table",  # near copies of rows; numpy is loaded by one command only
        "trainer.data.sketch",
        "trainer.data.unpacking",  # files that tools read may be packed
    },
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def own_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.partition(".")[0] in PACKAGES}


def allowed_for(module: str) -> set[str]:
    owner = max((prefix for prefix in ARROWS if f"{module}.".startswith(f"{prefix}.")), key=len)
    return ARROWS[owner]


@pytest.mark.parametrize("module, path", [m for m in modules() if m[0] != "trainer"])
def test_imports_run_along_the_arrows_only(module, path):
    allowed = allowed_for(module)

    for name in own_imports(path):
        is_exact = name in allowed
        is_inside = any(name.startswith(f"{prefix}.") for prefix in allowed if prefix != "trainer")
        assert is_exact or is_inside, f"{module} imports {name}"


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
        "trainer.data.source",
        "trainer.remember",
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
        assert ast.get_docstring(ast.parse(path.read_text())), path


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
