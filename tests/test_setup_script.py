"""`scripts/setup` takes every extra of pyproject.toml, and refuses any other name."""

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_name_that_is_no_extra_is_refused_with_those_there_are():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = sorted([*extras["optional-dependencies"], "trackio"])

    refused = subprocess.run(
        [ROOT / "scripts" / "setup", *names, "plotz"], capture_output=True, text=True, check=False
    )

    assert refused.returncode == 2
    expected = f"{', '.join(names[:-1])} or {names[-1]}"
    assert refused.stderr == f'error: "plotz" is no extra; expected {expected}\n'
