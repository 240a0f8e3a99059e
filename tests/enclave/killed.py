"""One act of an enclave in a process of its own: what to do comes as JSON; SIGKILL comes at the crash point named."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from tests.enclave.house import source
from tests.enclave.keyring import Keyring
from tests.steps import FixedClock
from tests.trust.vault.database import Database
from wellspring.enclave.service import Enclave, Ports
from wellspring.observe.lineage import Lineage
from wellspring.observe.metrics import Metrics
from wellspring.observe.step import Steps
from wellspring.project import load
from wellspring.trust.ledger.journal import Journal

if __name__ == "__main__":
    told = json.load(sys.stdin)
    clock = FixedClock(datetime.fromisoformat(told["now"]))
    project = load(Path(told["folder"]))
    step = Steps(
        service="enclave",
        actor="service:enclave",
        tenant=project.tenant,
        journal=Journal(project.journals, "enclave", tenant=project.tenant, clock=clock),
        metrics=Metrics(project.state / "metrics", "enclave"),
        lineage=Lineage(project.state / "lineage" / "enclave.jsonl", project.name),
        clock=clock,
        crash_at=told["crash_at"],
    )
    enclave = Enclave(
        Ports(
            project=project,
            store=Database(Path(told["host"])).store(),
            keys=Keyring(bytes.fromhex(told["root_key"])),
            source=lambda _: source(told, clock),
            folder=project.enclave / "originals",
            step=step,
            clock=clock,
        )
    )
    getattr(enclave, told["call"])(*told["arguments"])
