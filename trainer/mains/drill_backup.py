"""Restore a backup into a scratch folder, load its model, and compare it with what it was. It loads torch.

python -P -m trainer.mains.drill_backup <order.json >answer.json
"""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from trainer.backups import catalog
from trainer.backups.address import UnusableDestination
from trainer.backups.catalog import NoSuchBackup
from trainer.backups.destination import open_destination
from trainer.backups.manifest import BackupManifest, DamagedManifest
from trainer.backups.restoring import CannotRestore, fill
from trainer.mains.fingerprint_logits import logits_of
from trainer.mains.one_shot import Tell, serve
from trainer.protocol.backups import DRILL_SCRATCH, DrillOrder, DrillResult, abandoned_drills
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import OrderRefused
from trainer.protocol.text import printable

NICENESS = 10


@dataclass(frozen=True)
class _Verdict:
    passed: bool
    message: str
    is_exact: bool | None = None
    max_difference: float | None = None


def carry_out(order: DrillOrder, tell: Tell) -> DrillResult:
    """Restore a backup for a trial.

    Raises:
        OrderRefused: there is no such backup.
    """
    began = time.monotonic()
    try:
        destination = open_destination(order.to, base_dir=order.base_dir)
        manifest = catalog.find(destination, order.backup)
    except (NoSuchBackup, DamagedManifest) as error:
        raise OrderRefused(str(error), FaultKind.REQUEST) from error
    except UnusableDestination as error:
        raise OrderRefused(str(error), FaultKind.ENVIRONMENT) from error
    scratch = _scratch(Layout(order.base_dir).models)
    try:
        tell(f"restoring {manifest.id}")
        fill(scratch / "work", manifest, destination, tell=tell)
        verdict = _compare(manifest, scratch / "work", order.base_dir, tell)
    except (CannotRestore, UnusableDestination) as error:
        verdict = _Verdict(passed=False, message=str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return DrillResult(
        id=manifest.id,
        at=manifest.made_at,
        passed=verdict.passed,
        message=verdict.message,
        global_step=manifest.global_step,
        files=len(manifest.files),
        total_bytes=manifest.total_bytes,
        is_exact=verdict.is_exact,
        max_difference=verdict.max_difference,
        seconds=round(time.monotonic() - began, 1),
    )


def _scratch(models: Path) -> Path:
    """Make a folder beside the models, where there is room for one, or elsewhere if there are none."""
    if not models.is_dir():
        return Path(tempfile.mkdtemp(prefix=DRILL_SCRATCH))
    for left in abandoned_drills(models):
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{DRILL_SCRATCH}{os.getpid()}-", dir=models))


def _compare(manifest: BackupManifest, work: Path, base_dir: Path, tell: Tell) -> _Verdict:
    tell("loading its model")
    models = Layout(work).models
    try:
        found = logits_of(models / FOLDER / manifest.checkpoint, base_dir=base_dir, models=models, tell=tell)
    except Exception as error:  # whatever keeps a worker from loading it
        return _Verdict(
            passed=False, message=f"its model cannot be loaded: {printable(str(error), limit=500)}"
        )
    from trainer.model.logits import difference, is_close

    expected = manifest.logits
    if expected is None:
        return _Verdict(
            passed=True,
            message="every file is what it was, and the model loads; "
            "there is no fingerprint of its logits to compare with",
        )
    distance, is_exact = difference(expected, found), expected.sha256 == found.sha256
    if is_exact:
        return _Verdict(True, "every file is what it was, and so is every logit", True, distance)
    if is_close(expected, found):
        message = f"every file is what it was, and the logits differ by rounding only ({distance:.2g})"
        return _Verdict(True, message, False, distance)
    return _Verdict(
        False, f"the model is not what it was: a logit differs by {distance:.3g}", False, distance
    )


if __name__ == "__main__":
    serve(DrillOrder, carry_out, niceness=NICENESS)
