import sys

from hitagu_lib.cli import main

sys.exit(main())
