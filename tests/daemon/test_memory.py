"""How much memory a daemon takes that nobody asks for anything special, and what it has not loaded."""

import json
import subprocess
import sys

import pytest

from tests.test_architecture import MODULES

LIMIT_BYTES = 30 << 20
"""Of what is its own; it takes 27 MiB, or 28 where Python may not keep what it has compiled."""

RUN = """
import atexit, json, sys

def report():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    [own] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:")]
    print(json.dumps({"own_bytes": own, "modules": sorted(sys.modules)}))

atexit.register(report)
from daemon.cli.training_daemon import main
from daemon.status import machine
machine.LIBRARY = "libnvidia-ml-that-nobody-has.so.1"  # as on a machine without a GPU
main()
"""

FOR_SPECIAL_WISHES = {
    "daemon.backups",
    "daemon.health",
    "daemon.jobs.consolidation",
    "daemon.jobs.forget_orders",
    "daemon.jobs.forgetting",
    "daemon.jobs.going_back",
    "daemon.ledger.branch_steps",
    "daemon.ledger.event_stream",
    "daemon.ledger.trained_files",
    "daemon.notify",
    "daemon.settings.starter",
    "daemon.tracking",
    "trainer.config.document",
    "trainer.protocol.backups",
    "trainer.protocol.forgetting",
    "trainer.protocol.going_back",
    "trainer.protocol.new_version",
    "trainer.versions",
}
OF_OTHERS = {
    *("asyncio", "email", "fsspec", "http", "importlib.metadata", "multiprocessing", "numpy", "pynvml"),
    *("rich", "ssl", "torch", "transformers", "urllib.request", "xml", "zipfile"),
    *("apprise", "mlflow", "tensorboard", "wandb"),
}


@pytest.fixture(scope="module")
def of_a_daemon(tmp_path_factory):
    """What a daemon reports that has had nothing to do, when it leaves."""
    base = tmp_path_factory.mktemp("idle")
    (base / "config.json").write_text(json.dumps({"model": {"base_model": "tiny"}}))
    result = subprocess.run(
        [sys.executable, "-P", "-c", RUN, "--once", "--base-dir", str(base)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(result.stdout.splitlines()[-1])


def test_a_daemon_with_nothing_to_do_loads_nothing_that_only_special_wishes_need(of_a_daemon):
    loaded = set(of_a_daemon["modules"])

    assert "daemon.loop" in loaded
    assert sorted(loaded & (FOR_SPECIAL_WISHES | OF_OTHERS)) == []


def test_a_daemon_with_nothing_to_do_is_small(of_a_daemon):
    assert of_a_daemon["own_bytes"] < LIMIT_BYTES


def test_what_must_not_be_loaded_is_there_to_be_loaded():
    assert sorted(FOR_SPECIAL_WISHES - MODULES.keys()) == []
