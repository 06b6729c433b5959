"""A follower that is killed in the middle of its N-th write.   python dying_follower.py BASE_DIR N"""

import os
import signal
import sys
from pathlib import Path

from daemon.journal import followers, json_lines
from trainer.protocol.layout import Layout


def main(base_dir: Path, writes_left: int) -> None:
    followers.BATCH = 3
    write = os.write

    def dying_write(descriptor: int, data: bytes) -> int:
        nonlocal writes_left
        writes_left -= 1
        if writes_left == 0:
            write(descriptor, data[: len(data) * 2 // 3])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data)

    os.write = dying_write
    follower = json_lines.JsonLines(base_dir)
    followers.follow(follower, Layout(base_dir), wait=lambda: False, report=print)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
