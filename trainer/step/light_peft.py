"""Import PEFT without bitsandbytes, which it wants for a function that is not called here.

With it would come torch's compiler, which takes more than a second. Whatever computes with 4 or 8 bits
imports bitsandbytes by itself. To be imported before transformers, which imports PEFT, too.
"""

import sys

if "bitsandbytes" not in sys.modules:
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        import peft  # noqa: F401
    finally:
        del sys.modules["bitsandbytes"]
