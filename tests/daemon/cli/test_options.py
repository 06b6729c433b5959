"""What all commands have in common."""

import io

import pytest
import typer

from daemon.cli.options import run


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_terminal_cannot_show_is_escaped(monkeypatch, fails):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    monkeypatch.setattr("sys.argv", ["training_queue"])
    monkeypatch.setattr("os.umask", lambda mask: 0)
    app = typer.Typer()

    @app.command()
    def say() -> None:
        if fails:
            raise OSError("naïve.jsonl is gone")
        print("naïve.jsonl")

    with pytest.raises(SystemExit):
        run(app)

    for stream in streams.values():
        stream.flush()
    said = {name: stream.buffer.getvalue() for name, stream in streams.items()}
    shown = {"stdout": b"", "stderr": b"error: na\\xefve.jsonl is gone\n"}
    assert said == (shown if fails else {"stdout": b"na\\xefve.jsonl\n", "stderr": b""})
