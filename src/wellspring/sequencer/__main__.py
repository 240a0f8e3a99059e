"""`python -m wellspring.sequencer --project P`: run the sequencer, the only process that signs for the log.

Reads one line of JSON from standard input, {"role_id", "wrapped"}: a credential for one login.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from datetime import timedelta
from functools import partial

from wellspring.bootstrap.sequencer_ports import open_sequencer
from wellspring.errors import CorruptedError
from wellspring.observe.refusal_log import RefusalLog
from wellspring.project import Project
from wellspring.runtime.process import Credential, run_service, stop_on_lost_login
from wellspring.sequencer.integration import IntegrationLoop
from wellspring.sequencer.journal_scan import JournalScan
from wellspring.sequencer.key_rotation import KeyRotation
from wellspring.sequencer.packing import LinePacker, record_pack
from wellspring.sequencer.packing_loop import PackingLoop
from wellspring.sequencer.request_server import RequestServer, allowed_uids


def run_sequencer(project: Project, credential: Credential, stop: threading.Event) -> None:
    """Integrate and answer requests until the event is set."""
    with open_sequencer(project, credential, on_login_lost=stop_on_lost_login(stop)) as ports:
        ledger, sequencer, key_versions = ports

        # The type of an exception is all that its entry holds.
        def record_finding(service: str, finding: CorruptedError) -> None:
            with suppress(CorruptedError), ledger.step("check_journal", f"journal:{service}"):
                raise finding

        days = project.ledger.key_days
        rotation = KeyRotation(
            sequencer,
            key_versions,
            list_open_intents=ledger.index.list_open_intents,
            step=ledger.step,
            lifetime=timedelta(days=days) if days else None,
        )
        loop = IntegrationLoop(
            sequencer,
            journals=project.journals_dir,
            index=ledger.index,
            clock=ledger.clock,
            scan=JournalScan(project.journals_dir, project.ledger_dir),
            record_finding=record_finding,
            record_heartbeat=ledger.step.record_heartbeat,
            heartbeat_interval=timedelta(seconds=project.ledger.checkpoint_seconds),
            rotation=rotation,
        )
        packer = LinePacker(
            index=ledger.index,
            paths=ledger.tree.paths,
            journals=project.journals_dir,
            ledger=project.ledger_dir,
            origin=sequencer.origin,
            record_pack=partial(record_pack, ledger.step),
            crash_point=ledger.step.crash_point,
        )
        packing = PackingLoop(
            packer,
            partial(loop.integrate_for, "sequencer"),
            clock=ledger.clock,
            interval=timedelta(seconds=project.ledger.pack_seconds),
        )
        server = RequestServer(
            project.socket_path("sequencer"), loop, packing, allowed_uids(project), RefusalLog(ledger.step)
        )
        for name, run in (("sequencer socket", server.serve_forever), ("line packs", partial(packing.run, stop))):
            threading.Thread(target=run, name=name, daemon=True).start()
        try:
            loop.run(stop)
        finally:
            server.shutdown()
            server.server_close()


if __name__ == "__main__":
    sys.exit(run_service(run_sequencer, module="wellspring.sequencer", role="sequencer", umask=0o027))
