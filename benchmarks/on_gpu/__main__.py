"""`python -m benchmarks.on_gpu`: see the package's docstring."""

import sys

from benchmarks.on_gpu.runner import main

if __name__ == "__main__":  # processes that draw data import this module again
    sys.exit(main())
