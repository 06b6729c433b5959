"""A models folder of links, to be used without touching `models/`: what is renamed there is only a link."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.protocol.checkpoints import ASIDE_PREFIX, FOLDER, POINTER, published


@contextmanager
def linked_models_of(models: Path) -> Iterator[Path]:
    """Yield a folder elsewhere that can be used like `models`, which is left alone and may be missing."""
    with TemporaryDirectory(prefix="dry-run-") as place:
        linked = Path(place) / "models"
        (linked / FOLDER).mkdir(parents=True)
        for path in models.iterdir() if models.is_dir() else ():
            if path.name not in (FOLDER, POINTER) and not path.name.startswith("."):
                (linked / path.name).symlink_to(path)
        for path in [*published(models / FOLDER), *(models / FOLDER).glob(f"{ASIDE_PREFIX}*")]:
            (linked / FOLDER / path.name).symlink_to(path)
        yield linked
