"""Recognise a base model again, without reading all of it."""

import hashlib
from pathlib import Path

KINDS = (".safetensors", ".json", ".jinja", ".txt", ".model")  # of which a model consists
SAMPLES = 64
SAMPLE_BYTES = 64 * 1024
READ_WHOLE = 16 * 1024 * 1024


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the names, sizes and contents of a model's files.

    Of a file beyond 16 MB, 64 samples of 64 KiB at even distances stand for the content, so that even the
    largest model takes a moment only.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in KINDS and path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= READ_WHOLE:
                digest.update(file.read())
                continue
            for sample in range(SAMPLES):
                file.seek(sample * (size - SAMPLE_BYTES) // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
