"""Have pydantic look for no plugins: it would read the entry points of all installed packages.

What it looks for them with (importlib.metadata, email, zipfile, …) takes 1.3 MB of memory for as long as a
daemon runs, and time in each command. The variable that turns plugins off does not spare that.
"""

import os
import sys
from types import ModuleType

VARIABLE = "PYDANTIC_DISABLE_PLUGINS"
ALL_OF_THEM = ("__all__", "1", "true")  # in pydantic's words
LOADER = "pydantic.plugin._loader"


def leave_out_plugins() -> None:
    """Let this process, and those that it starts, have none. To be called before the first model is made."""
    if os.environ.setdefault(VARIABLE, ALL_OF_THEM[0]) in ALL_OF_THEM:
        none = ModuleType(LOADER, "Finds none.")
        none.__dict__["get_plugins"] = tuple
        sys.modules.setdefault(LOADER, none)
