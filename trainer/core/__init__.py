"""The training engine. Everything that needs torch lives here."""

import logging

# PEFT imports bitsandbytes wherever it is installed, and that warns of a kernel which training does not use
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
