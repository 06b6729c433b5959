"""Do what `python -c CODE` does, where a nursery runs a module.

python -m tests.crash.run_code CODE
"""

import sys

if __name__ == "__main__":
    exec(sys.argv.pop(1))
