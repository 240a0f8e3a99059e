"""Run one operation of an enclave, given as JSON, in a process that SIGKILL ends at a crash point."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from tests.builders.enclave import source
from tests.builders.journal_keys import journal_key
from tests.builders.memory_keys import Keyring
from tests.builders.postgres import Database
from tests.builders.recording_step import FixedClock
from wellspring.bootstrap import open_ledger_index
from wellspring.enclave.service import Enclave, EnclaveDependencies
from wellspring.observe.lineage import LineageWriter
from wellspring.observe.metrics import StepMetrics
from wellspring.observe.recorder import StepRecorder
from wellspring.project import load_project
from wellspring.trust.ledger.journal import Journal

if __name__ == "__main__":
    result = json.load(sys.stdin)
    clock = FixedClock(datetime.fromisoformat(result["now"]))
    project = load_project(Path(result["folder"]))
    step = StepRecorder(
        service="enclave",
        actor="service:enclave",
        tenant=project.tenant,
        journal=Journal(project.journals_dir, journal_key("enclave"), tenant=project.tenant, clock=clock),
        metrics=StepMetrics(project.state_dir / "metrics", "enclave"),
        lineage=LineageWriter(project.state_dir / "lineage" / "enclave.jsonl", project.name),
        clock=clock,
        crash_at=result["crash_at"],
    )
    enclave = Enclave(
        EnclaveDependencies(
            project=project,
            store=Database(Path(result["host"])).store(),
            keys=Keyring(bytes.fromhex(result["root_key"])),
            open_source=lambda _: source(result, clock),
            folder=project.enclave_dir / "originals",
            step=step,
            clock=clock,
            index=open_ledger_index(project),
        )
    )
    getattr(enclave, result["call"])(*result["arguments"])
