"""The command training_models consolidate: what it shows, what it asks, and what it refuses."""

import json
import struct

import pytest

from daemon.cli.training_models import app
from daemon.client import consolidate as client
from tests.daemon.cli.runner import runner_of
from tests.daemon.test_loop_consolidating import DONE, LORA
from tests.health import publish
from trainer.protocol.checkpoints import read_manifest
from trainer.protocol.job import Cursor
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress

run = runner_of(app)


@pytest.fixture
def layout(tmp_path):
    """A working directory with an adapter in the middle of a file."""
    layout = Layout(tmp_path / "work")
    layout.create()
    layout.config_file.write_text(json.dumps(LORA))
    cursor = Cursor(
        job_id="1", name="b\x1b.jsonl", sha256="0" * 64, plan="p", step=2, rows_trained=2, settings={}
    )
    path = publish(layout, 1, progress=Progress(global_step=3, cursors={"1": cursor}), method="lora")
    base = tmp_path / "base"
    base.mkdir()
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "BF16", "shape": [1000, 500]}}).encode()
    (base / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    return layout


@pytest.fixture
def orders(monkeypatch):
    given = []

    def ask(module, order, answer_type, *, on_progress):
        given.append(order)
        return DONE

    monkeypatch.setattr(client, "ask", ask)
    return given


def test_the_plan_says_what_changes_and_what_it_takes(layout, orders):
    shown = run(layout, "consolidate", "--dry-run").stdout

    assert shown.startswith("the adapter of step-000000003-1 (step 3) is merged into tiny, in fp32\n")
    assert "need 2 MB; " in shown
    assert "1 file in training continue where they are: b\\x1b.jsonl" in shown
    assert orders == []


def test_nothing_happens_without_a_yes(layout, orders):
    declined = run(layout, "consolidate", input="n\n")

    assert declined.exit_code == 1
    assert orders == []


def test_with_a_yes_it_is_carried_out(layout, orders):
    result = run(layout, "consolidate", "--yes")

    assert result.stdout.endswith(f"\n{DONE.text}\n")  # after the plan
    [order] = orders
    assert order.checkpoint == "step-000000003-1"


def test_it_is_not_done_if_no_backup_can_be_made_before(layout, orders, tmp_path):
    (tmp_path / "file").touch()
    known = json.loads(layout.config_file.read_text()) if layout.config_file.exists() else {}
    layout.config_file.write_text(json.dumps(known | {"backup": {"to": str(tmp_path / "file")}}))

    refused = run(layout, "consolidate", "--yes")

    assert str(refused.exception).startswith("no backup could be made before this: ")
    assert orders == []


def test_for_programs_plan_and_result_are_one_document(layout, orders):
    planned = json.loads(run(layout, "consolidate", "--dry-run", "--json").stdout)
    done = json.loads(run(layout, "consolidate", "--yes", "--json").stdout)
    refused = run(layout, "consolidate", "--json")

    assert planned["result"] is None
    assert planned["plan"]["open_files"] == ["b\\x1b.jsonl"]
    assert (done["plan"]["global_step"], done["result"]) == (3, DONE.text)
    assert "--json does not ask" in str(refused.exception)


def test_a_base_that_cannot_be_read_leaves_the_room_open(layout, orders):
    (read_path := layout.models / "current_model" / "adapter_config.json").write_text("[]")
    assert read_manifest(read_path.parent)

    assert "need room for all its weights in fp32; " in run(layout, "consolidate", "--dry-run").stdout


@pytest.mark.parametrize(
    "method, problem",
    [("full", "there is no adapter to merge"), (None, "there is no checkpoint yet")],
)
def test_what_has_no_adapter_is_refused(tmp_path, orders, method, problem):
    layout = Layout(tmp_path / "other")
    layout.create()
    layout.config_file.write_text(json.dumps(LORA))
    if method:
        publish(layout, 1, step=3, method=method)

    result = run(layout, "consolidate", "--yes")

    assert result.exit_code == 1
    assert problem in str(result.exception)
    assert orders == []
