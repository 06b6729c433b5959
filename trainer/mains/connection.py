"""Connect a process to the one that started it: by an inherited socket, or over TCP from anywhere."""

import argparse
import signal
import socket
from pathlib import Path

from trainer.protocol.child_process import die_with
from trainer.protocol.handshake import SECRET_VARIABLE, take_secret
from trainer.protocol.tcp import connect


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Declare what `open_connection` and `end_with_parent` read."""
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument("--channel-fd", type=int, help="an inherited, connected stream socket")
    ways.add_argument("--connect", metavar="HOST:PORT", help="where to connect over TCP")
    secret = f"holds the secret of the connection, instead of {SECRET_VARIABLE}"
    parser.add_argument("--secret-file", type=Path, help=secret)
    parent = "end when this process does; without it, only the end of the connection counts"
    parser.add_argument("--parent-pid", type=int, help=parent)


def open_connection(arguments: argparse.Namespace) -> socket.socket:
    """Return the connection to the process that started this one.

    Raises:
        UnusableSecret, BadAddress: what it was given is of no use.
        OSError: nobody can be reached there, or somebody who does not know the secret.
    """
    if arguments.connect is None:
        return socket.socket(fileno=arguments.channel_fd)
    return connect(arguments.connect, take_secret(arguments.secret_file))


def end_with_parent(arguments: argparse.Namespace, number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends, if it is to end with that one."""
    if arguments.parent_pid is not None:
        die_with(arguments.parent_pid, number)
