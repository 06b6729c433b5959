"""The manifest of a backup: which files it has, by which objects, and what their weights were trained on.

It may come from anywhere, so nothing in it is trusted: paths lead to what we write in a working directory, or
past all of that to a file that settings name; and every byte of it is covered by its checksum.
"""

import json
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.protocol.backups import UNFINISHED, LogitsFingerprint
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import CHECKSUM, checksum
from trainer.protocol.text import printable

FORMAT = 1
ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
SHA256 = r"^[0-9a-f]{64}$"
PLACES = (
    *("models/checkpoints/", "models/versions/", "models/bases/", "models/data/"),
    *("queue/high/", "queue/normal/", "queue/low/", "queue/processing/", "queue/.replayed/"),
)
FILES = ("config.json", "status/ledger.sqlite3")
LONGEST_PATH = 4096
_LAYOUT = Layout(Path("/"))
NOT_FOR_NAMED = frozenset(
    {path.parts[1] for path in (*_LAYOUT.folders(), _LAYOUT.config_file, _LAYOUT.emergency_stop)}
    | {UNFINISHED}
)
"""What has a meaning at the top of a working directory: nothing that settings name is restored there."""


class DamagedManifest(ValueError):
    """A manifest is not what was written, or nothing that we would write."""


def is_clean(path: str) -> bool:
    """Whether a path leads below the folder that it begins in, and is written in the one way there is."""
    parts = PurePosixPath(path).parts
    is_plain = "/".join(parts) == path and not {"..", "."} & set(parts) and "\0" not in path
    return bool(parts) and is_plain and not path.startswith("/") and len(path) <= LONGEST_PATH


def is_ours(path: str) -> bool:
    """Whether a path is one of those that we write."""
    return path in FILES or path.startswith(PLACES)


def may_be_named(path: str) -> bool:
    """Whether settings may name a path that is restored: it leads past everything that has a meaning."""
    # Some file systems take MODELS for models
    return is_clean(path) and path.partition("/")[0].casefold() not in NOT_FOR_NAMED


def _require_clean(path: str) -> str:
    if not is_clean(path):
        raise ValueError(f"{printable(path, limit=100)!r} is no path of a backup")
    return path


class BackupFile(BaseModel):
    """A file of the working directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_require_clean)]
    """Relative to the working directory, with slashes."""
    sha256: Annotated[str, Field(pattern=SHA256)]
    """Also the name of its object."""
    bytes: Annotated[int, Field(ge=0)]
    mtime_ns: int
    """The age of a file in the queue decides when its turn comes."""


class BackupManifest(BaseModel):
    """What a backup is. Its id sorts by time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    id: Annotated[str, Field(pattern=f"^{ID.pattern}$")]
    made_at: str
    """UTC, ISO 8601."""
    why: str
    origin: str
    """Host and working directory; printable."""
    checkpoint: Annotated[str, Field(pattern=r"^step-[0-9-]+$")]
    sequence: int
    global_step: int
    branch: int
    base_model: str
    own_base: str | None = None
    """The base model that an adapter was merged into, which is in the backup: relative to `models/`."""
    method: str
    versions: tuple[str, ...]
    """Those whose weights are in it."""
    files: tuple[BackupFile, ...]
    named: tuple[str, ...] = ()
    """Paths of those files that are in it because settings name them."""
    saw: tuple[Annotated[str, Field(pattern=SHA256)], ...]
    """SHA-256 of all files that any of its weights were trained on."""
    is_saw_complete: bool
    logits: LogitsFingerprint | None

    @model_validator(mode="after")
    def _leads_nowhere_else(self) -> "BackupManifest":
        paths, named = {file.path for file in self.files}, set(self.named)
        strange = [path for path in paths - named if not is_ours(path)]
        strange += [path for path in named if path not in paths or not may_be_named(path)]
        if strange:
            raise ValueError(f"{printable(min(strange), limit=100)!r} is no path of a backup")
        return self

    @model_validator(mode="after")
    def _has_each_path_once(self) -> "BackupManifest":
        paths = {file.path for file in self.files}
        if len(paths) != len(self.files):
            raise ValueError("a path occurs twice")
        for path in paths:
            if any(str(parent) in paths for parent in PurePosixPath(path).parents):
                raise ValueError(f"{printable(path, limit=100)!r} lies below a file")
        if f"models/checkpoints/{self.checkpoint}/MANIFEST.json" not in paths:
            raise ValueError("it has no checkpoint")
        return self

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def objects(self) -> dict[str, int]:
        """SHA-256 -> bytes."""
        return {file.sha256: file.bytes for file in self.files}


def as_bytes(manifest: BackupManifest) -> bytes:
    """Return the one way in which a manifest is written."""
    content = manifest.model_dump(mode="json")
    return _canonical(content | {CHECKSUM: checksum(content)})


def _canonical(content: Any) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n"


def parse(said: bytes, *, name: str) -> BackupManifest:
    """Return a manifest after comparing it with its checksum, its name, and the one way to write it.

    Args:
        name: of its file, without `.json`.
    Raises:
        DamagedManifest: a bit has changed, or it asks for what no backup needs.
    """
    try:
        content = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(f"it is no JSON: {error}") from error
    # The bytes are compared, too: a bit may change in a space or in how a character is written
    if not isinstance(content, dict) or _canonical(content) != said:
        raise DamagedManifest("it has different content than when it was written")
    if content.pop(CHECKSUM, None) != checksum(content):
        raise DamagedManifest("it has different content than when it was written")
    if content.get("format") != FORMAT:
        found = printable(json.dumps(content.get("format")), limit=40)
        raise DamagedManifest(f"format is {found}; expected {FORMAT}; use the release that wrote it")
    try:
        manifest = BackupManifest.model_validate(content)
    except (ValidationError, ValueError) as error:
        raise DamagedManifest(f"it cannot be used: {_first(error)}") from error
    if manifest.id != name:
        raise DamagedManifest(f"it is the manifest of {manifest.id}")
    return manifest


def _first(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return printable(str(error), limit=200)
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"]))
    return printable(f"{place}: {problem['msg']}".removeprefix(": "), limit=200)
