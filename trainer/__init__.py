"""Train one language model over file after file. Importing this package loads nothing heavy.

The library's face is `trainer.session.engine.TrainerEngine`; the process that the daemon starts is
`trainer.mains.worker`.
"""

import logging

__version__ = "0.1.0"

# PEFT imports bitsandbytes wherever it is installed, and that warns of a kernel which training does not use
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
