"""`python -m wellspring.api --project P`: serve predictions over HTTP on a Unix socket.

Reads one line of JSON from standard input, {"role_id", "wrapped"}: a credential for one login.
"""

from __future__ import annotations

import sys

from wellspring.api.server import run_api
from wellspring.runtime.process import run_service

if __name__ == "__main__":
    sys.exit(run_service(run_api, module="wellspring.api", role="api", umask=0o027))
