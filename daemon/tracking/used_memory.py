"""How much memory training uses, as the status says. Changes nothing."""

from typing import Any

from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout


def used_memory(layout: Layout) -> dict[str, float]:
    """Return bytes by name; nothing where the status does not know them."""
    try:
        status: dict[str, Any] = read_json(layout.status_file)
        found = {"memory/worker_bytes": status["memory"]["worker_rss_bytes"]}
        found |= {f"memory/gpu{number}_bytes": gpu["used_bytes"] for number, gpu in enumerate(status["gpus"])}
    except (OSError, UnreadableFile, KeyError, TypeError):
        return {}
    return {name: float(value) for name, value in found.items() if value is not None}
