"""`python -m wellspring.enclave --project P`: run the enclave process.

Reads one line of JSON from standard input, {"role_id", "wrapped"}: a credential for one login.
"""

from __future__ import annotations

import sys
import threading

from wellspring.enclave.app import open_enclave
from wellspring.errors import WellspringError, format_error
from wellspring.project import Project
from wellspring.runtime.process import Credential, run_service, stop_on_lost_login
from wellspring.runtime.process_memory import limit_memory

MAINTENANCE_INTERVAL = 3600.0


def run_enclave(project: Project, credential: Credential, stop: threading.Event) -> None:
    """Serve until the event is set, with hourly maintenance."""
    limit_memory(project.enclave.memory_mb * 2**20)
    with open_enclave(project, credential, on_login_lost=stop_on_lost_login(stop)) as enclave:
        while not stop.wait(MAINTENANCE_INTERVAL):
            try:
                enclave.run_maintenance()
            except WellspringError as exc:
                # The next request runs the maintenance again, and fails if it still fails.
                print(format_error(exc.slug, exc.what, exc.fix), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_service(run_enclave, module="wellspring.enclave", role="enclave", umask=0o077))
