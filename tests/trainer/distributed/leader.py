"""Meet one follower, which cannot load what it is told to: there is no such checkpoint.

python -m tests.trainer.distributed.leader DIR SOCKET

The nursery at SOCKET forks the follower.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

from tests.crash.nursery import fork_followers
from trainer.config.schema import Settings
from trainer.distributed.ranks import Ranks

if __name__ == "__main__":
    base, address = map(Path, sys.argv[1:])
    fork_followers(address)
    settings = Settings.model_validate({"training": {"processes": 2, "cpu_threads": 1}})
    ranks = Ranks(settings.training, base_dir=base, tell=lambda event: print(event.message, flush=True))
    ranks.join(settings, SimpleNamespace(path="/no/checkpoint"), None)
