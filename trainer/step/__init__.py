"""One optimizer step, fast: forward pass, loss, micro-batches, optimizers, schedules, the Trainer class.

Knows no files and no jobs: it takes the steps it is fed. `micro_batches` cuts them, which changes speed and
memory and never the mathematics.
"""

import sys

if "bitsandbytes" not in sys.modules:
    # PEFT imports it for a function that is not called here, and with it torch's compiler, which takes more
    # than a second. Whatever computes with 4 or 8 bits imports it by itself
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        import peft  # noqa: F401
    finally:
        del sys.modules["bitsandbytes"]
