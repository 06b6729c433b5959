"""The addresses by which a browser is let in."""

from daemon.monitor.tokens import Tokens


def url_of(host: str, port: int) -> str:
    """Return the address of the monitor, for a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # every address of this machine
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def link_lines(tokens: Tokens, host: str, port: int) -> list[str]:
    """Return both links as lines for a person."""
    login = f"{url_of(host, port)}login?token="
    return [
        f"  to look and to control: {login}{tokens.control}",
        f"  only to look:           {login}{tokens.read}",
    ]
