"""The walk in docs/MODELS.md, run line by line as somebody who tries it does. What loads torch is forked."""

import hashlib
import importlib
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.client import Client
from trainer.protocol.job import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "MODELS.md"
pytestmark = pytest.mark.loads_torch


def walk():
    """Return the command lines of the walk, without comments and without settings of the shell."""
    text = PAGE.read_text().partition("## A walk\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]
    return [words for words in lines if words[0] != "export"]


@pytest.fixture
def run(nursery, tmp_path, monkeypatch):
    """Run a command line in an empty folder; return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINING_BASE_DIR", str(tmp_path / "walk"))
    monkeypatch.setenv("TRAINING__TRAINING__CPU_THREADS", "1")

    def run(words):
        if words == ["training_daemon", "--once"]:
            trained = nursery.run("tests.end_to_end.run_command", str(nursery.address), "--once")
            assert trained.returncode == 0, trained.stderr
            return trained.stdout
        program, *arguments = words
        app = importlib.import_module(f"daemon.cli.{program}").app
        found = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
        assert found.exit_code == 0, (words, found.exception)
        return found.stdout

    return run


def weights(base):
    file = base / "models" / "current_model" / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def test_the_walk_goes_back_and_forward_as_the_page_says(run, tmp_path):
    said, model = {}, {}
    for words in walk():
        line = " ".join(words)
        said[line] = run(words)
        model.setdefault(line, weights(tmp_path / "walk"))  # the first time, where a line is there twice

    first, second = (model[f"training_models {words}"] for words in ("alias deployed v001", "list"))
    assert first != second
    assert model["training_models rollback --to v001 --yes"] == first
    assert model["training_models restore v002 --yes"] == second
    assert model["training_models report --since v001"] == second
    assert "second.jsonl (steps 3 to 4) is undone" in said["training_models rollback --to v001 --dry-run"]
    assert re.search(r"^second\.jsonl .*undone", said["training_queue list --skipped"], re.M)
    assert said["training_models lineage second.jsonl"].endswith(" is in v002\n")
    assert re.search(r"^trained 1 file, 30 rows", said["training_models report --since v001"], re.M)
    client = Client(tmp_path / "walk")
    assert [(version.id, version.is_current) for version in client.models.versions()] == [
        ("v001", False),
        ("v002", True),
    ]
    completed, _ = client.queue.finished([Outcome.COMPLETED])
    assert [file.name for file in completed] == ["first.jsonl", "second.jsonl"]
