"""A packed working directory of an old release, which the present code must go on with.

    scripts/upgradetest --make-fixture        makes it anew, with the code of the old commit

`half_way.py` says in which state it is. Its base model is made for it and much smaller than `tiny`. What
only the machine knew on which it was made is left out: logs, checkpoints but the newest, SQLite's shared
memory. Beside it stands what the old code itself made of it when it went on (`expected.json`): once with
all files recognised, once after a move to another disk, where their inodes are others.
"""

import gzip
import json
import shutil
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

from tests.crash import evidence
from tests.crash.checkout import ROOT, Checkout, Workplace
from tests.crash.half_way import make_half_way

FOLDER = ROOT / "tests" / "corpus" / "old_directory"
PACKED = FOLDER / "half_way.tar.gz"
EXPECTED = FOLDER / "expected.json"
MAX_BYTES = 1_500_000
ROWS = 180  # of the longest files
COLUMNS = (
    *(
        "global_step",
        "display",
        "file_step",
        "steps.rows",
        "steps.replayed",
        "steps.tokens",
        "supervised_tokens",
    ),
    *("learning_rate", "loss"),
)


class NotPortable(RuntimeError):
    """What was made cannot be committed."""


# ---- used by the test


def unpack(base: Path) -> None:
    """Unpack the directory into `base`. Its files become other ones, with other inodes."""
    with tarfile.open(PACKED) as archive:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(base)


def recognise_files(base: Path) -> None:
    """Have the ledger know the unpacked files as those it knew, as if nothing had been moved."""
    database = sqlite3.connect(base / "status" / "ledger.sqlite3")
    with database:
        for folder in (base / "queue").iterdir():
            for path in folder.glob("*.jsonl*"):
                found = path.stat()
                database.execute(
                    "UPDATE jobs SET device = ?, inode = ?, mtime_ns = ? WHERE name = ? AND size_bytes = ?",
                    (found.st_dev, found.st_ino, found.st_mtime_ns, path.name.encode(), found.st_size),
                )
    database.close()


def steps(base: Path) -> list[list[Any]]:
    """Return the steps in the ledger, with the files they belong to, as `COLUMNS` says."""
    found = evidence.query(
        base, f"SELECT {', '.join(COLUMNS)} FROM steps JOIN jobs ON id = job_id ORDER BY global_step"
    )
    return [list(row) for row in found]


# ---- used once


def make(old: Checkout, folder: Path) -> None:
    """Make all of it anew with the old code.

    Args:
        folder: to work in.
    Raises:
        NotPortable: it is too large, or names the place where it was made.
    """
    work = folder / "work"
    build_small_model(work / "base")
    make_half_way(old, work, base_model="base", rows=ROWS)
    _leave_out_what_is_local(work)
    FOLDER.mkdir(exist_ok=True)
    _pack(work)
    expected = {}
    for name in ("recognised", "moved"):
        base = folder / name
        unpack(base)
        if name == "recognised":
            recognise_files(base)
        expected[name] = _what_the_old_code_makes_of_it(old, base)
    EXPECTED.write_text(_one_step_a_line(expected))
    print(f"{PACKED.relative_to(ROOT)}: {PACKED.stat().st_size:,} bytes")


def build_small_model(folder: Path) -> None:
    """Create a model like `tiny` with 3 % of its weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from trainer.model.tiny import SEED, build_tiny

    build_tiny(folder)
    import torch

    torch.manual_seed(SEED)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": None}
    config = json.loads((folder / "config.json").read_text()) | sizes | heads
    Qwen3ForCausalLM(Qwen3Config(**config)).save_pretrained(folder)


def _leave_out_what_is_local(base: Path) -> None:
    shutil.rmtree(base / "logs")
    shutil.rmtree(base / "models" / "cache")
    newest = (base / "models" / "current_model").resolve()
    for checkpoint in (base / "models" / "checkpoints").iterdir():
        if checkpoint != newest:
            shutil.rmtree(checkpoint)
    for path in base.rglob("*"):
        if path.name.endswith((".lock", "-shm")):
            path.unlink()


def _pack(base: Path) -> None:
    for path in base.rglob("*"):
        if path.is_file() and str(base.parent).encode() in path.read_bytes():
            raise NotPortable(f"{path} names {base.parent}; expected nothing of this machine")

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with (
        PACKED.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(base.iterdir()):
            archive.add(path, path.name, filter=anonymous)
    if PACKED.stat().st_size > MAX_BYTES:
        raise NotPortable(f"{PACKED} has {PACKED.stat().st_size} bytes; expected at most {MAX_BYTES}")


def _what_the_old_code_makes_of_it(old: Checkout, base: Path) -> dict[str, Any]:
    place = Workplace(old, base)
    plan = json.loads(place.ask("training_health", "verify", "--json").stdout)["restart"]
    place.go_on_to_the_end()
    if wrong := evidence.miscounted(base):
        raise AssertionError(wrong[0])
    return {"restart": plan, "places": evidence.places(base), "steps": steps(base)}


def _one_step_a_line(expected: dict[str, Any]) -> str:
    """Return JSON that shows in a comparison which step has changed."""
    parts = []
    for name, found in expected.items():
        lines = ",\n".join(f"   {json.dumps(step)}" for step in found["steps"])
        rest = "".join(f"  {json.dumps(key)}: {json.dumps(found[key])},\n" for key in found if key != "steps")
        parts.append(f' {json.dumps(name)}: {{\n{rest}  "steps": [\n{lines}\n  ]\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
