"""Commands and the daemon have pydantic without plugins, as long as nobody asks for them."""

import os
import subprocess
import sys

import pytest

from daemon.cli.light_pydantic import VARIABLE

LOADED = (
    "import sys\n"
    "from daemon.cli.options import run\n"
    "from pydantic import BaseModel\n"
    "class Row(BaseModel):\n"
    "    text: str\n"
    "Row(text='a')\n"
    "print('importlib.metadata' in sys.modules)\n"
)


@pytest.mark.parametrize("given, is_loaded", [(None, False), ("1", False), ("", True), ("logfire", True)])
def test_what_looks_for_plugins_is_loaded_only_for_who_asks_for_them(given, is_loaded):
    environment = {name: text for name, text in os.environ.items() if name != VARIABLE}
    if given is not None:
        environment[VARIABLE] = given

    result = subprocess.run(
        [sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, check=True
    )

    assert result.stdout == f"{is_loaded}\n"
