"""The process behind `training_monitor`, which checks what is given to it; so this one has less to load."""

import argparse
import sys
from pathlib import Path

from daemon.client.errors import ClientError

EXIT_CONFIG = 78


def main() -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="training_monitor", add_help=False)
    parser.add_argument("--base-dir", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--new-tokens", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--max-upload", type=int)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args()
    from daemon.monitor.server import CannotServe, serve

    try:
        serve(
            options.base_dir,
            host=options.host,
            port=options.port,
            allowed_hosts=options.allow_host,
            new_tokens=options.new_tokens,
            quiet=options.quiet,
            max_upload=options.max_upload,
            ready_fd=options.ready_fd,
        )
    except (CannotServe, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CONFIG if isinstance(error, CannotServe) else error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
