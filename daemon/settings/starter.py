"""Give a new working directory its `config.json`, and the schema with which editors complete it."""

from collections.abc import Mapping
from typing import Any

from trainer.config.document import SCHEMA_FILE, json_schema
from trainer.config.loader import SCHEMA_KEY
from trainer.protocol.files import write_json
from trainer.protocol.layout import Layout

STARTER_CONFIG: Mapping[str, Mapping[str, Any]] = {"model": {"base_model": "tiny"}}


def write_starter(layout: Layout, settings: Mapping[str, Mapping[str, Any]] = STARTER_CONFIG) -> bool:
    """Write the schema of this release, and `config.json` unless there is one; return whether that is new.

    Raises:
        OSError: the working directory cannot be written.
    """
    write_json(layout.base / SCHEMA_FILE, json_schema(), durable=False)
    if layout.config_file.exists():
        return False
    write_json(layout.config_file, {SCHEMA_KEY: f"./{SCHEMA_FILE}", **settings}, durable=False)
    return True
