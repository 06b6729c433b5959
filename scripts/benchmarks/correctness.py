"""Right, besides fast: a killed run ends with the same bits, and rows together cost what each costs alone."""

import math
from pathlib import Path
from typing import Any

from scripts.benchmarks.engine_run import Run, Spec, run_engine
from scripts.benchmarks.results import Table
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.workload import Workload, write_rows

ROWS = 8
LOSS_TOLERANCE = 1e-4  # relative, in fp32: sums in another order
KILLED_AT, SAVED_EVERY = 7, 3


def check_all(folder: Path, *, device: str) -> Table:
    """Return the verdicts. `device` is `cuda` or `cpu`."""
    folder.mkdir(parents=True)
    model = build_model(folder / "model", SHAPES["tiny"])
    return Table(
        "Correctness",
        ["", "verdict"],
        [
            ["killed and gone on with: the same bits", goes_on_to_the_same_bits(folder, model, device)],
            ["the loss of rows together is that of each alone", together_is_as_alone(folder, model, device)],
        ],
    )


def goes_on_to_the_same_bits(folder: Path, model: Path, device: str) -> str:
    """Train a file in one go, and again with a kill -9 in between; compare the weights."""
    file = write_rows(folder / "bits.jsonl", 16 * ROWS)
    settings = _settings(model, device, rows_per_step=ROWS)
    settings["checkpoints"] = {"interval_steps": SAVED_EVERY}

    def run(name: str, kill_at_step: int | None = None) -> Run:
        spec = Spec(
            folder=str(folder / name),
            file=str(file),
            settings=settings,
            is_deterministic=True,
            kill_at_step=kill_at_step,
        )
        return run_engine(spec)

    whole = run("whole")
    killed = run("killed", kill_at_step=KILLED_AT)
    resumed = run("killed")
    if whole.why_not or resumed.why_not:
        return f"FAILED: {whole.why_not or resumed.why_not}"
    if not killed.why_not or len(resumed.losses) >= len(whole.losses):
        return "FAILED: it was not killed in between"
    is_same = whole.weights_sha256 == resumed.weights_sha256
    steps = f"{len(resumed.losses)} of {len(whole.losses)} steps after the kill"
    return f"{'ok' if is_same else 'FAILED: other weights'} ({steps})"


def together_is_as_alone(folder: Path, model: Path, device: str) -> str:
    """Train rows in one step, and one by one with a learning rate of next to nothing; compare the losses."""
    file = write_rows(folder / "rows.jsonl", ROWS, Workload(seed=3))
    runs = []
    for rows_per_step in (ROWS, 1):
        settings = _settings(model, device, rows_per_step=rows_per_step)
        spec = Spec(folder=str(folder / f"by-{rows_per_step}"), file=str(file), settings=settings)
        runs.append(run_engine(spec))
    together, alone = runs
    if together.why_not or alone.why_not:
        return f"FAILED: {together.why_not or alone.why_not}"
    pairs = zip(alone.losses, alone.supervised, strict=True)
    expected = sum(loss * tokens for loss, tokens in pairs) / sum(alone.supervised)
    found = together.losses[0]
    is_same = math.isclose(found, expected, rel_tol=LOSS_TOLERANCE)
    return f"{'ok' if is_same else 'FAILED'} ({found:.6f} together, {expected:.6f} alone)"


def _settings(model: Path, device: str, *, rows_per_step: int) -> dict[str, Any]:
    training = {
        "device": device,
        "precision": "fp32",
        "batch_size": rows_per_step,
        "gradient_accumulation": 1,
        "learning_rate": 1e-12 if rows_per_step == 1 else 1e-3,
        "warmup_steps": 0,
    }
    return {"model": {"base_model": str(model)}, "training": training}
