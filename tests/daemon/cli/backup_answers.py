"""What the processes that work on backups answer, for tests of the commands."""

from pydantic import BaseModel

from trainer.protocol.backups import (
    BackupLine,
    BackupList,
    BackupMade,
    DrillResult,
    PrunedBackups,
    RestoredBackup,
    VerifiedBackups,
)

ID = "20261122-060644-0265ac"
AT = "2026-11-22T06:06:44.000Z"
MADE = BackupMade(
    id=ID,
    at=AT,
    to="/mnt/backup",
    checkpoint="step-000001200",
    sequence=9,
    global_step=1200,
    files=13,
    total_bytes=14_000_000,
    sent_bytes=4_000_000,
    there_bytes=9_000_000,
    seconds=7.2,
    shares_device=True,
    has_fingerprint=False,
    notes=("there is no \x1b[31mfingerprint",),
)
LISTED = BackupList(
    to="/mnt/backup",
    backups=(
        BackupLine(
            id=ID,
            at=AT,
            why="every 24 h 00 min",
            origin="box:/srv/work",
            global_step=1200,
            branch=0,
            versions=("v001",),
            files=13,
            total_bytes=14_000_000,
            has_fingerprint=True,
        ),
    ),
    damaged={"manifests/20261121-060644-0265ac.json": "it is no JSON"},
    stored_bytes=15_000_000,
    shares_device=False,
)
VERIFIED = VerifiedBackups(
    to="/mnt/backup", backups=2, objects=20, hashed_bytes=15_000_000, damaged={}, unusable=()
)
DAMAGED = VERIFIED.model_copy(
    update={"damaged": {"objects/ab/abc": "it is missing"}, "unusable": (ID,)},
)
RESTORED = RestoredBackup(
    id=ID,
    at=AT,
    into="/srv/again",
    checkpoint="step-000001200",
    global_step=1200,
    files=13,
    total_bytes=14_000_000,
)
PRUNED = PrunedBackups(
    to="/mnt/backup", removed=(ID,), kept=("20261123-060644-0265ac",), freed_objects=3, freed_bytes=9_000
)
DRILLED = DrillResult(
    id=ID,
    at=AT,
    passed=True,
    message="every file is what it was, and so is every logit",
    global_step=1200,
    files=13,
    total_bytes=14_000_000,
    is_exact=True,
    max_difference=0.0,
    seconds=7.1,
)
ANSWERS: dict[str, BaseModel] = {
    "training_models backup create": MADE,
    "training_models backup list": LISTED,
    "training_models backup verify": VERIFIED,
    "training_models backup restore": RESTORED,
    "training_models backup drill": DRILLED,
    "training_models backup prune": PRUNED,
}
