"""`python -m wellspring.worker JOB --project P`: execute one job. `executor.py` describes its input and output."""

from __future__ import annotations

import sys

from wellspring.worker.executor import main

if __name__ == "__main__":
    sys.exit(main())
