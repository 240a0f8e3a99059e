"""`python -m wellspring.worker --project P ...`: the worker of a project. `app.py` describes its arguments."""

from __future__ import annotations

import sys

from wellspring.worker.app import main

if __name__ == "__main__":
    sys.exit(main())
