"""An enclave on a real database and a real vendor, with keys in memory: opened, killed and opened again by a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.data.sources.vendor import Vendor
from tests.enclave.keyring import Keyring
from tests.steps import FixedClock
from tests.trust.vault.database import Database
from wellspring.data import contract as contracts
from wellspring.data import land
from wellspring.data.sources.sftp import SftpSource
from wellspring.enclave.service import Enclave, Ports
from wellspring.observe.lineage import Lineage
from wellspring.observe.metrics import Metrics
from wellspring.observe.step import Steps
from wellspring.project import load
from wellspring.records.clock import Clock
from wellspring.records.data import Contract
from wellspring.records.trust import Entry
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.journal import Journal

TOML = """
[project]
name = "health_plan"
tenant = "wellspring-benefits"

[sources.clearinghouse]
kind = "sftp"
address = "embedded"
settle_seconds = 0
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: claim
name: claim
version: {version}
status: active
team:
  - {{ username: claims-data@clearinghouse.example.com, role: owner }}
customProperties:
  - {{ property: source, value: clearinghouse }}
  - {{ property: files, value: "claim_*.csv" }}
  - {{ property: format, value: csv }}
slaProperties:
  - {{ property: retention, value: 7, unit: d }}
schema:
  - name: claim
    properties:
      - name: claim_id
        logicalType: string
        required: true
        primaryKey: true
        classification: identifier
        customProperties: [{{ property: leaves, value: {leaves} }}{domain}]
      - name: kind
        logicalType: string
        required: true
        classification: operational
        quality: [{{ type: library, metric: invalidValues, arguments: {{ validValues: [{kinds}] }}, mustBe: 0 }}]
        customProperties: [{{ property: leaves, value: as_is }}]
      - name: amount
        logicalType: number
        physicalType: decimal(12,2)
        required: true
        classification: financial
        customProperties: [{{ property: leaves, value: as_is }}]
"""
DOMAIN = ", { property: domain, value: claim }"
HEAD = "claim_id,kind,amount\n"


class House:
    """folder: of the project. Its clock stands until a test moves it; it starts anew with each opening from `clock`."""

    def __init__(self, folder: Path, database: Database, vendor: Vendor) -> None:
        self.folder = folder
        self.database = database
        self.vendor = vendor
        self.clock = FixedClock()
        self.root_key = os.urandom(32)
        folder.mkdir(exist_ok=True)
        (folder / "contracts").mkdir(exist_ok=True)
        (folder / ".wellspring").mkdir(exist_ok=True)
        (folder / "wellspring.toml").write_text(TOML)
        self.promise()

    def promise(self, *, version: str = "1.0.0", kinds: Iterable[str] = ("a", "b"), leaves: str = "token") -> Contract:
        """Write the contract; return it as it now stands in the project."""
        text = CONTRACT.format(
            version=version, kinds=", ".join(kinds), leaves=leaves, domain=DOMAIN if leaves == "token" else ""
        )
        (self.folder / "contracts" / "claim.odcs.yaml").write_text(text)
        return self.contract()

    def contract(self) -> Contract:
        (found,) = contracts.load_all(
            self.folder / "contracts", tenant="wellspring-benefits", known_since=self.clock.now()
        )
        return found

    def put(self, name: str, *rows: str) -> None:
        part = self.vendor.put(f".{name}.part", (HEAD + "".join(f"{row}\n" for row in rows)).encode())
        os.utime(part, (1_700_000_000, 1_700_000_000))
        part.rename(self.vendor.outbox / name)

    @contextmanager
    def opened(self, *, crash_at: str | None = None, clock: Clock | None = None) -> Generator[Enclave]:
        self.ports_now = self.ports(crash_at=crash_at, clock=clock)
        try:
            yield Enclave(self.ports_now)
        finally:
            self.closing()

    def ports(self, *, crash_at: str | None = None, clock: Clock | None = None) -> Ports:
        clock = clock or self.clock
        project = load(self.folder)
        self.store = self.database.store()
        self.journal = Journal(project.journals, "enclave", tenant=project.tenant, clock=clock)
        self.step = Steps(
            service="enclave",
            actor="service:enclave",
            tenant=project.tenant,
            journal=self.journal,
            metrics=Metrics(project.state / "metrics", "enclave"),
            lineage=Lineage(project.state / "lineage" / "enclave.jsonl", project.name),
            clock=clock,
            crash_at=crash_at,
        )
        return Ports(
            project=project,
            store=self.store,
            keys=Keyring(self.root_key),
            source=lambda _: self.vendor.source(clock=clock),
            folder=project.enclave / "originals",
            step=self.step,
            clock=clock,
        )

    def closing(self) -> None:
        self.journal.close()
        self.store.close()

    def kill(self, at: str, call: str, *arguments: object) -> None:
        """Do one thing in a process of its own that dies, by SIGKILL, at a crash point."""
        told = {
            "folder": str(self.folder),
            "host": str(self.database.host),
            "vendor": str(self.vendor.folder),
            "port": self.vendor.port,
            "user_key": self.vendor.user_key,
            "root_key": self.root_key.hex(),
            "now": self.clock.now().isoformat(),
            "crash_at": at,
            "call": call,
            "arguments": arguments,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "tests.enclave.killed"],
            input=json.dumps(told).encode(),
            capture_output=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "src:."},
        )
        assert ended.returncode == -9, (ended.returncode, ended.stderr.decode()[-2000:])

    def entries(self, action: str | None = None, phase: str = "done") -> list[Entry]:
        lines = [json.loads(line) for _, line in journal.read(self.folder / ".wellspring/journals", "enclave")]
        every = [Entry.model_validate(line) for line in lines]
        return [entry for entry in every if entry.phase == phase and action in (None, entry.action)]

    def originals(self) -> list[str]:
        return list(land.kept(self.folder / ".wellspring/enclave/originals"))


def forget(database: Database) -> None:
    """Empty the database."""
    store = database.store()
    with store._transaction() as run:
        run.execute("DROP SCHEMA public CASCADE")
        run.execute("CREATE SCHEMA public")
    store.close()


def source(told: dict[str, Any], clock: Clock) -> SftpSource:
    """Open the vendor of another process."""
    return SftpSource(
        "clearinghouse",
        address=lambda: ("127.0.0.1", told["port"]),
        user="wellspring",
        folder="/outbox",
        private_key=told["user_key"],
        known_hosts=Path(told["vendor"]) / "known_hosts",
        settle_seconds=0,
        clock=clock,
    )
