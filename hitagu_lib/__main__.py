"""`python -m hitagu_lib` runs `hitagu`; torchrun starts it as `-m hitagu_lib train ...`."""

import os
import sys

from hitagu_lib.cli.main import main

if "TORCHELASTIC_RUN_ID" in os.environ:
    from torch.distributed.elastic.multiprocessing.errors import record

    sys.exit(record(main)())  # so that torchrun's report contains the traceback of an unexpected error
sys.exit(main())
