"""`python -m wellspring.sequencer --project P`: run the sequencer, the only process that signs for the log.

Reads one line of JSON from standard input, {"role_id", "wrapped"}: a credential for one login.
"""

from __future__ import annotations

import sys
import threading
from datetime import timedelta

from wellspring.bootstrap import open_ledger, open_sequencer
from wellspring.project import Project
from wellspring.runtime.process import Credential, run_service
from wellspring.sequencer.integration import IntegrationLoop
from wellspring.sequencer.request_server import RequestServer, allowed_uids


def run_sequencer(project: Project, credential: Credential, stop: threading.Event) -> None:
    """Integrate and answer requests until the event is set."""
    with open_ledger(project, service="sequencer") as ledger, open_sequencer(ledger, credential) as sequencer:
        loop = IntegrationLoop(
            sequencer,
            journals=project.journals_dir,
            index=ledger.index,
            clock=ledger.clock,
            record_heartbeat=ledger.step.record_heartbeat,
            heartbeat_interval=timedelta(seconds=project.ledger.checkpoint_seconds),
        )
        server = RequestServer(project.socket_path("sequencer"), loop, allowed_uids(project))
        thread = threading.Thread(target=server.serve_forever, name="sequencer socket", daemon=True)
        thread.start()
        try:
            loop.run(stop)
        finally:
            server.shutdown()
            server.server_close()


if __name__ == "__main__":
    sys.exit(run_service(run_sequencer, module="wellspring.sequencer", role="sequencer", umask=0o022))
