"""Stand in for the Python that pytest-xdist starts its processes with: a nursery forks them, torch and all.

    python -m tests.crash.forked_python SOCKET -u -c CODE

CODE is execnet's: it reads the first line from standard input and carries it out.
"""

import sys
from pathlib import Path

from tests.crash.nursery import fork

if __name__ == "__main__":
    address, *_, code = sys.argv[1:]
    child = fork(Path(address), "tests.crash.run_code", [code], {number: number for number in range(3)})
    sys.exit(child.wait())
