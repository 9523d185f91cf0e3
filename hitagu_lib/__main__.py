"""`python -m hitagu_lib` is `hitagu`; torchrun starts it as `-m hitagu_lib train ...`."""

import os
import sys

from hitagu_lib.cli.main import main

if "TORCHELASTIC_RUN_ID" in os.environ:
    from torch.distributed.elastic.multiprocessing.errors import record

    sys.exit(record(main)())  # torchrun's report then has the traceback of an unexpected error
sys.exit(main())
