"""Where backups are told of a file that is forgotten. There are none of this release's own yet."""

from collections.abc import Collection
from pathlib import Path


def forget_in_backups(base_dir: Path, sha256s: Collection[str]) -> list[str]:
    """Have backups drop the objects of these contents; return what could not be reached, and why.

    Args:
        sha256s: of the file, and of the files of the checkpoints and versions whose weights have seen it.
    """
    return ["copies outside of this folder, such as backups, exports, deployments and other machines"]
