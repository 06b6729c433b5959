"""Kill daemon and workers at random, and compare the weights with those of an uninterrupted run.

Meanwhile the model goes back, forgets files, is judged by the gate, versioned and backed up; every other kill
comes while that is under way.

The long version of test_crashes.py. The same seed gives the same choice of faults.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.chaos import bring_to_an_end, rage
from tests.crash.lab import Lab, Nursery
from tests.crash.model_life import ModelLife, settings_for_life

KILLS_PER_LAB = 50  # then everything is compared, and a new model is begun


def main() -> int:
    """Return 0 if everything added up."""
    parser = argparse.ArgumentParser(
        prog="scripts/crashtest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--method", choices=["full", "lora", "qlora"], default="full")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crashtest-"))
    nursery = Nursery(folder)
    for first in range(0, wanted.kills, KILLS_PER_LAB):
        kills = min(KILLS_PER_LAB, wanted.kills - first)
        if not survives(folder / f"lab-{first}", nursery, kills, wanted.seed + first, wanted.method):
            print(f"everything is kept in {folder}")
            return 1
    shutil.rmtree(folder)
    seconds = time.monotonic() - started
    print(f"{wanted.kills} kills in {seconds:.0f} s: weights bit-identical, rows trained exactly once")
    return 0


def survives(base: Path, nursery: Nursery, kills: int, seed: int, method: str) -> bool:
    """Run one lab; return whether everything added up, and say so."""
    lab = Lab(base, nursery, seed=seed, method=method, sections=settings_for_life(base.parent, base.name))
    life = ModelLife(lab, seed)
    try:
        for number in rage(lab, kills=kills, seed=seed, life=life):
            if number % 10 == 0:
                print(f"  {number} kills, {len(lab.completed())} files trained", flush=True)
        problems = bring_to_an_end(lab, life)
    finally:
        lab.close()
    print("\n".join(f"  {line}" for line in life.lines()))
    print(
        f"seed {seed}: {dict(lab.kills)}, {lab.num_steps()} steps: {'; '.join(problems) or 'all adds up'}",
        flush=True,
    )
    return not problems


if __name__ == "__main__":
    sys.exit(main())
