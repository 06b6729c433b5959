"""How fast this machine multiplies matrices of one size: what a share of the possible is a share of.

python -m scripts.benchmarks.product_rate M K N THREADS [FORMAT]
"""

import json
import subprocess
import sys
import time

SECONDS = 2.0
FORMATS = {"fp32": "float32", "bf16": "bfloat16"}
"""Names of torch's, by settings of `training.precision`."""


def product_rate(m: int, k: int, n: int, *, threads: int, dtype: str = "float32") -> float:
    """Return the operations per second of (m, k) x (k, n), measured in a new process.

    Args:
        dtype: the name of a torch format.
    """
    sizes = map(str, (m, k, n, threads))
    command = [sys.executable, "-m", "scripts.benchmarks.product_rate", *sizes, dtype]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    """Measure in this process; print the rate."""
    import torch

    m, k, n, threads = map(int, sys.argv[1:5])
    dtype = getattr(torch, sys.argv[5])
    torch.set_num_threads(threads)
    left, right = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    best = float("inf")
    deadline = time.perf_counter() + SECONDS
    while time.perf_counter() < deadline:
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    print(json.dumps(2 * m * k * n / best))


if __name__ == "__main__":
    main()
