"""What must hold of versions, backups and forgotten files, whatever has happened.

    python -m tests.crash.life_evidence VERSION …

loads versions as anybody would, and fails with those that cannot be loaded.
"""

import gzip
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainer.protocol.files import file_sha256
from trainer.versions.registry import Versions
from trainer.versions.removal import STATE_FILES

CHUNK_BYTES = 1 << 20


def damaged_versions(models: Path) -> Iterator[str]:
    """Yield what is wrong with versions: only the optimizer's state may have been given up."""
    versions = Versions(models, clock=lambda: 0.0)
    for path, why in versions.listing().damaged.items():
        yield f"version {path}: {why}"
    for version in versions.all():
        for name, entry in version.record.files.items():
            path = version.path / name
            if not path.is_file():
                if path.name not in STATE_FILES:
                    yield f"{version.id}: {name} is gone"
            elif file_sha256(path) != entry.sha256:
                yield f"{version.id}: {name} has another content"


def traces(folders: Iterable[Path], content: Path) -> Iterator[str]:
    """Yield the files below folders that have text of a file's first or last row."""
    lines = gzip.decompress(content.read_bytes()) if content.suffix == ".gz" else content.read_bytes()
    rows = lines.splitlines()
    wanted = {_question(rows[0]), _question(rows[-1])} - {b""}
    for folder in folders:
        for path in folder.rglob("*"):
            is_own = path.is_file() and not path.is_symlink()
            if is_own and any(_has(path, text) for text in wanted):
                yield f"{path.relative_to(folder.parent)} still has rows of {content.name}"


def _question(line: bytes) -> bytes:
    """Return what only this row has: `Say 17.`; nothing for a line that is no row."""
    start = line.find(b"Say ")
    return b"" if start < 0 else line[start : line.index(b".", start) + 1]


def _has(path: Path, text: bytes) -> bool:
    try:
        with path.open("rb") as file:
            before = b""
            while chunk := file.read(CHUNK_BYTES):
                if text in before + chunk:
                    return True
                before = chunk[-len(text) :]
    except FileNotFoundError:
        pass  # just removed
    return False


def main() -> None:
    """Load versions."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    failed = []
    for path in sys.argv[1:]:
        try:
            model = AutoModelForCausalLM.from_pretrained(path)
            tokenizer = AutoTokenizer.from_pretrained(path)
            logits = model(**tokenizer("Say 1.", return_tensors="pt")).logits
            if not torch.isfinite(logits).all():
                failed.append(f"{path}: its logits are not finite")
        except Exception as error:  # whatever it is, somebody could not use it
            failed.append(f"{path}: {type(error).__name__}: {error}")
    print("\n".join(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
