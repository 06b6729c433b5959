"""Words on how far something is, on the terminal while a command works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from daemon.cli.options import typed_here


@contextmanager
def progress_words(text: str, *, is_shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes words on how far something is, and shows them."""
    if not is_shown:
        yield lambda words: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda words: status.update(Text(typed_here(f"{text}: {words}")))
