"""No garbage is looked for while modules are imported, and afterwards it is again."""

import gc
from contextlib import suppress

import pytest

from trainer.mains.garbage import importing


@pytest.mark.parametrize("error", [None, ImportError("no such module")])
def test_garbage_is_looked_for_again_after_an_import_but_not_among_what_it_made(monkeypatch, error):
    seen = []
    monkeypatch.setattr(gc, "freeze", lambda: seen.append(("freezes", gc.isenabled())))

    with suppress(ImportError), importing():
        seen.append(("imports", gc.isenabled()))
        if error:
            raise error

    assert seen == [("imports", False), ("freezes", False)]
    assert gc.isenabled()
