"""Download a base model from the Hugging Face hub, reporting the progress."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it uses
from tqdm import tqdm

from trainer.protocol.faults import ModelUnavailable, first_line

# Weights as safetensors only: the older formats can run code when they are loaded
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]


def download(name: str, tell: Callable[[str], None]) -> Path:
    """Return the local folder of a hub model, fetching what is not cached yet.

    Args:
        tell: called now and then with what is being fetched and how much of it is there.
    Raises:
        ModelUnavailable: the hub has no such model, or cannot be reached.
    """
    tell(f"downloading {name}")
    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS, tqdm_class=_telling_bar(tell)))
    except (OSError, HTTPError, ValueError) as error:
        raise ModelUnavailable(
            f'model.base_model is "{name}", which is not a folder here and cannot be downloaded: '
            f"{first_line(error)}"
        ) from error


def _telling_bar(tell: Callable[[str], None]) -> type[Any]:
    class TellingBar(tqdm):  # type: ignore[misc]  # the library ships no types
        """A progress bar that tells instead of drawing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the hub's own bars take it, the library's do not
            super().__init__(*args, **kwargs)

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if self.total:
                tell(f"downloading {self.desc or 'files'}: {self.n / self.total:.0%}")

    return TellingBar
