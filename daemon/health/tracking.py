"""Do trackers get what they are to get? Reads what their processes note; says nothing where none is set."""

from collections.abc import Iterator

from daemon.health.check_result import CheckResult, ok, warning
from trainer.config.tracking_settings import TrackingSettings
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, shell_word


def check_tracking(layout: Layout, settings: TrackingSettings) -> Iterator[CheckResult]:
    """Yield how each tracker is that has started."""
    for options in settings.wanted:
        name = f"tracking.{options.kind}"
        file = layout.tracking_file(options.kind, options.destination(layout.base))
        try:
            noted = read_json(file)
            problem, step = noted["problem"], int(noted["place"]["step"])
        except FileNotFoundError:
            continue
        except (UnreadableFile, KeyError, TypeError, ValueError) as error:
            text = f"{file.name} is unreadable: {printable(str(error))}"
            yield warning(name, text, f"remove it, and all is sent again: rm {shell_word(str(file))}")
            continue
        if problem:
            yield warning(
                name, printable(str(problem), limit=400), f"correct {name} in config.json, or its server"
            )
        else:
            yield ok(name, f"has the steps up to {step}")
