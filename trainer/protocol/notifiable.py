"""The events that a command or a web server can be told of (`notify.events`)."""

from typing import Literal

Notifiable = Literal["completed", "failed", "blocked", "crashed", "recovered", "queue_empty"]
NOTIFIABLE: list[Notifiable] = ["completed", "failed", "blocked", "crashed", "recovered", "queue_empty"]
