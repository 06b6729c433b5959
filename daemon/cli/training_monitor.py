"""The command `training_monitor`: serve the web page. The server itself is a process with less to load."""

import importlib.util
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import BaseDir, CommandFailed, Version, client_of, run, say, use_base_dir
from daemon.client.errors import NoMonitor, raising
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.monitor_process import MonitorNow

NEEDED = ("starlette", "uvicorn", "prometheus_client")
MAX_UPLOAD = "5GB"
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|tb)?", re.IGNORECASE)
UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, invoke_without_command=True)

Host = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="To listen on; 0.0.0.0 for all of this machine's.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="To listen on; 0 takes a free one.")]


@app.callback(
    epilog="Examples:\n\n\b\n"
    "  training_monitor                          on http://127.0.0.1:8080/\n"
    "  training_monitor --port 9000 --base-dir ~/training\n"
    "  training_monitor --new-tokens             lock out who has the old links\n"
    "  training_monitor links                    print the links again"
)
def training_monitor(
    context: typer.Context,
    base_dir: BaseDir = None,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Also answer to this host name. May be repeated."),
    ] = None,
    max_upload: Annotated[
        str,
        typer.Option("--max-upload", metavar="SIZE", help="Of a file that is uploaded; 0 allows no upload."),
    ] = MAX_UPLOAD,
    new_tokens: Annotated[
        bool, typer.Option("--new-tokens", help="Make new links; the old ones stop working.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not print the links.")] = False,
    version: Version = False,
) -> None:
    """Serve a web page to watch and control training. Stop it with Ctrl-C.

    It prints two links, one to look and to control, one only to look; whoever has a link may use it. Training
    does not depend on the page, nor the page on a running daemon.
    """
    if context.invoked_subcommand:
        use_base_dir(base_dir)
        return
    refuse_without_packages()
    max_bytes = bytes_of(max_upload)
    layout = client_of(base_dir).layout  # or it says that it is no working directory
    command = ["--base-dir", str(layout.base), "--host", host, "--port", str(port)]
    command += [word for name in allow_host or [] for word in ("--allow-host", name)]
    command += ["--max-upload", str(max_bytes)]
    command += ["--new-tokens"] * new_tokens + ["--quiet"] * quiet
    # -P: a file in the current folder must not be mistaken for a module
    os.execv(sys.executable, [sys.executable, "-P", "-m", "daemon.monitor", *command])


def bytes_of(size: str) -> int:
    """Return how many bytes a size such as 5GB or 300 MB means.

    Raises:
        CommandFailed: it is none.
    """
    if not (found := SIZE.fullmatch(size.strip())):
        raise CommandFailed(f"--max-upload {printable(size)}: expected a size such as 5GB, 300MB or 0")
    return int(float(found[1]) * UNITS[(found[2] or "b").lower()])


def refuse_without_packages() -> None:
    """Say how what the web page needs is installed.

    Raises:
        CommandFailed: it is not.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise CommandFailed(
            f"the web page needs the package {missing[0]}, which is not installed; to install it: "
            "scripts/setup monitor, or pip install 'training-daemon[monitor]'"
        )


@app.command(epilog="Examples:\n\n\b\n  training_monitor links")
def links(base_dir: BaseDir = None) -> None:
    """Print the links of the monitor that runs again. They stay the same until --new-tokens."""
    from daemon.client.monitor_process import running_monitor

    layout = client_of(base_dir).layout
    found = running_monitor(layout)
    if found is None:
        raise NoMonitor(f"no monitor runs in {printable(str(layout.base))}; start one with: training_monitor")
    print("\n".join(printed_links(layout, found)))


def printed_links(layout: Layout, found: "MonitorNow") -> list[str]:
    """Return the links of a monitor as lines for a person."""
    from daemon.monitor.links import link_lines
    from daemon.monitor.tokens import UnusableTokens, load_tokens

    with raising(CommandFailed, UnusableTokens):
        return link_lines(load_tokens(layout.status), found.host, found.port)


@app.command(epilog="Examples:\n\n\b\n  training_monitor stop")
def stop(base_dir: BaseDir = None) -> None:
    """End the monitor. Training goes on."""
    from daemon.client.monitor_process import stop_monitor

    found = stop_monitor(client_of(base_dir).layout)
    say(f"the monitor (pid {found.pid}) has ended")


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
