"""`training_daemon init`, `start`, `restart` and `install-service`: what a daemon needs to run by itself."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.asking import confirm
from daemon.cli.options import BaseDir, Json, WrongUsage, client_of, say, say_problem
from daemon.client import Client
from daemon.client.client import START_WAIT_S
from trainer.protocol.text import num_of, printable

if TYPE_CHECKING:
    from daemon.client.creation import Created
    from daemon.client.service import Installed
    from daemon.client.starting import Started

app = typer.Typer()

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting.")
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, help=f"Seconds to wait for it. [default: {START_WAIT_S:.0f}]"
    ),
]


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_daemon init ~/training            folders and a config.json\n"
    "  training_daemon init ~/try --sample        and a file to train"
)
def init(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The folder; it is created. [default: that of --base-dir]"),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option("--sample", help="Put a file with the capitals of twelve countries into the inbox."),
    ] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a folder a working directory. What is there stays as it is."""
    if folder and base_dir:
        raise WrongUsage("give either a DIR or --base-dir")
    client = client_of(folder or base_dir)
    made = client.create(sample=sample)
    _show(asdict(made), as_json, _created_lines(made, client))


def _created_lines(made: "Created", client: Client) -> Iterable[str]:
    yield f"{made.base_dir} {'is now' if made.is_new else 'already is'} a working directory"
    if made.sample and made.sample_rows:
        yield f"inbox/{made.sample} has {num_of(made.sample_rows, 'row')} to train"
    status = client.status()
    if status.life in ("running", "silent"):
        yield f"its daemon is {status.life_text()}"
    else:
        yield "start it: training_daemon start"


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_daemon start --base-dir ~/training\n"
    "  training_daemon start --set training.learning_rate=1e-4\n"
    "  training_daemon start --monitor                    with the web page"
)
def start(
    base_dir: BaseDir = None,
    set_: Overrides = None,
    wait: Wait = None,
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Also serve the web page, as training_monitor does.")
    ] = False,
    monitor_port: Annotated[
        int, typer.Option("--monitor-port", metavar="PORT", min=0, max=65535, help="Of the web page.")
    ] = 8080,
    as_json: Json = False,
) -> None:
    """Start a daemon in the background. Returns once it is ready, or says why it is not.

    It writes to logs/daemon.log, and continues when the terminal is closed.
    """
    if monitor:
        from daemon.cli.training_monitor import refuse_without_packages

        refuse_without_packages()
    client = client_of(base_dir)
    is_new = not client.is_working_directory
    started = client.start(set_ or [], wait_s=_seconds(wait))
    if is_new and not as_json:
        say(f"{started.base_dir} is now a working directory")
    _show_started(client, started, as_json)
    if monitor:
        _start_monitor(client, monitor_port, as_json=as_json)


def _start_monitor(client: Client, port: int, *, as_json: bool) -> None:
    from daemon.cli.training_monitor import printed_links
    from daemon.client.monitor_process import start_monitor

    found = start_monitor(client.layout, host="127.0.0.1", port=port)
    if not as_json:
        say(f"the web page is served (pid {found.pid}); end it: training_monitor stop")
        print("\n".join(printed_links(client.layout, found)))


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_daemon restart                            with the same --set\n"
    "  training_daemon restart --set training.epochs=2    with this, and no other"
)
def restart(
    base_dir: BaseDir = None,
    set_: Overrides = None,
    no_set: Annotated[
        bool, typer.Option("--no-set", help="Override no setting, whatever was overridden before.")
    ] = False,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Stop at the next step and start again in the background.

    Settings that were overridden with --set stay so, unless --set or --no-set is given. The environment is
    that of this command.
    """
    if no_set and set_:
        raise WrongUsage("give either --set or --no-set")
    overrides = [] if no_set else set_
    client = client_of(base_dir)
    _show_started(client, client.restart(overrides, wait_s=_seconds(wait)), as_json)


def _show_started(client: Client, started: "Started", as_json: bool) -> None:
    overridden = [f"overridden: {', '.join(started.overrides)}"] if started.overrides else []
    paused = ["it stays paused until: training_controller resume"]
    lines = [
        f"the daemon is ready (pid {started.pid}) in {started.base_dir}",
        *overridden,
        *(paused if client.checkpoints.is_paused else []),
        f"its log: {started.log}",
        "watch it: training_controller status --watch",
        "stop it: training_controller stop",
    ]
    _show(asdict(started), as_json, lines)
    if not as_json:
        if started.stops_for:
            again = "to start one that goes on: training_daemon start"
            say_problem("note", f"{started.stops_for} was there, so this daemon stops again at once; {again}")
        if left := client.forgetting.unfinished():
            say_problem("note", f"{left.text}: {left.command}")
        for fault in client.settings.hidden_faults(started.overrides):
            say_problem("note", fault)
        if locked := client.settings.locked_fault(started.overrides):
            say_problem("note", locked)
        for problem in client.settings.unusable_names(client.settings.effective(started.overrides).settings):
            say_problem("note", problem)  # it may be there when the worker needs it, such as on a disk


@app.command(
    "install-service",
    epilog="Examples:\n\n\b\n"
    "  training_daemon install-service --base-dir ~/training\n"
    "  training_daemon install-service --print    show the unit and install nothing",
)
def install_service(
    base_dir: BaseDir = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the service; one for each working directory.")
    ] = "training-daemon",
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Also have the web page run, as the service NAME-monitor.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    only_print: Annotated[bool, typer.Option("--print", help="Print the unit, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Have systemd run the daemon for this user.

    Writes a unit with the absolute paths of this environment, and starts it if systemd runs.
    """
    from daemon.client.service import install, monitor_unit_text, refuse_running, unit_file, unit_text

    if monitor and as_json:
        raise WrongUsage("--json describes one service; install the web page without it")
    client = client_of(base_dir)
    units = {unit_file(Path.home(), name): unit_text(client.any_layout)}
    if monitor:
        from daemon.cli.training_monitor import refuse_without_packages

        refuse_without_packages()
        units[unit_file(Path.home(), f"{name}-monitor")] = monitor_unit_text(client.any_layout)
    if only_print:
        print("\n".join(units.values()), end="")
        return
    refuse_running(client.any_layout)
    if not yes:
        _ask_to_install(client, units, as_json=as_json)
    client.create()
    for unit, text in units.items():
        found = install(client.any_layout, unit, text)
        _show(asdict(found), as_json, _installed_lines(found))
    if monitor and not as_json:
        say("the links of the web page: training_monitor links")


def _ask_to_install(client: Client, units: Mapping[Path, str], *, as_json: bool) -> None:
    if as_json:
        raise WrongUsage("--json does not ask; add --yes; nothing was changed")
    print(f"working directory: {printable(str(client.any_layout.base))}")
    for unit, text in units.items():
        print(f"unit:              {printable(str(unit))}")
        if unit.exists() and unit.read_text(errors="replace") != text:
            print("There is such a unit already, and it is another one. It will be replaced.")
    confirm("Install the service and start it now?")


def _installed_lines(found: "Installed") -> Iterable[str]:
    yield f"wrote {found.unit}"
    if found.is_enabled:
        name = Path(found.unit).stem
        yield f"the service runs; see it: systemctl --user status {name}"
        yield f"to keep it running while you are logged out: {found.to_do[-1]}"
        return
    yield f"the service could not be started: {found.problem}"
    yield "where systemd runs, start it with these (the last keeps it running while you are logged out):"
    yield from (f"  {command}" for command in found.to_do)


def _seconds(wait: float | None) -> float:
    return START_WAIT_S if wait is None else wait


def _show(value: dict[str, Any], as_json: bool, lines: Iterable[str]) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        for line in lines:
            say(line)
