"""Transformers reads each folder of its models once, and finds the same in it."""

import subprocess
import sys

import pytest

COMPARE = """
import os, sys
seen = []
sys.addaudithook(lambda event, values: event == "open" and seen.append(str(values[0])))

import trainer.mains
import transformers.models

models = os.path.dirname(transformers.models.__file__)
read = [path for path in seen if path.startswith(models) and path.endswith(".py")]
assert len(read) > 1000, "transformers does no longer read its models: light_transformers is not needed"
assert len(read) == len(set(read)), f"{len(read) - len(set(read))} files were read twice"

from importlib.util import module_from_spec
from importlib.machinery import PathFinder
from transformers.utils import import_utils

spec = PathFinder.find_spec("transformers.utils.import_utils", [os.path.dirname(import_utils.__file__)])
original = module_from_spec(spec)
spec.loader.exec_module(original)
for where, prefix in [(models, "models"), (models + "/__init__.py", None)]:
    expected = original.define_import_structure(where, prefix=prefix)
    assert import_utils.define_import_structure(where, prefix=prefix) == expected
print(len(expected), "groups")
"""


@pytest.mark.loads_torch
def test_transformers_reads_its_models_once_and_finds_what_it_would_find_otherwise():
    compared = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True)

    assert (compared.stderr, compared.returncode) == ("", 0)
    assert int(compared.stdout.split()[0]) > 1
