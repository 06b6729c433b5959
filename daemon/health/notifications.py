"""Do notifications arrive? Reads what the processes that send them note; says nothing where none is sent."""

from collections.abc import Iterator

from daemon.health.check_result import CheckResult, ok, warning
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import num_of, printable, shell_word

CHANNELS = ("command", "webhook", "apprise")


def check_notifications(layout: Layout) -> Iterator[CheckResult]:
    """Yield how each channel is that anything was to be sent to."""
    for channel in CHANNELS:
        name, file = f"notify.{channel}", layout.notify_file(channel)
        try:
            noted = read_json(file)
            found, waiting, num_lost = noted["problem"], len(noted["pending"]), int(noted["lost"])
        except FileNotFoundError:
            continue
        except (UnreadableFile, KeyError, TypeError, ValueError) as error:
            yield warning(
                name,
                f"{file.name} is unreadable: {printable(str(error))}",
                f"remove it: rm {shell_word(str(file))}",
            )
            continue
        lost = f"; {num_of(num_lost, 'notification')} lost so far" if num_lost else ""
        if found:
            text = f"{printable(str(found), limit=400)}; {num_of(waiting, 'notification')} waiting{lost}"
            yield warning(name, text, f"correct notify.{channel} in config.json, or what it names")
        else:
            yield ok(name, f"notifications arrive{lost}")
