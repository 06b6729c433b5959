"""Everything that a person can ask of a working directory, as typed functions. Prints nothing.

    from daemon.client import Client

    job = (client := Client("~/training")).wait_for(client.queue.add("chat.jsonl"), timeout_s=3600)

The commands are views on it. It loads no torch, and each part of it only when it is used.
"""

from daemon.client.client import Client
from daemon.client.errors import ClientError

__all__ = ["Client", "ClientError"]
