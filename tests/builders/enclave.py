"""An enclave on a real database and a real SFTP vendor, with keys in memory; a test can open, kill and reopen it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tests.builders.approvals import Books, Somebody
from tests.builders.changes import ANYTHING
from tests.builders.journal_keys import journal_key
from tests.builders.memory_keys import Keyring
from tests.builders.postgres import Database
from tests.builders.recording_step import FixedClock
from tests.builders.sftp_vendor import Vendor, open_sftp_source
from wellspring.bootstrap import open_ledger_index
from wellspring.data.contracts import contract as contracts
from wellspring.data.intake import originals as originals_module
from wellspring.data.sources.sftp.source import SftpSource
from wellspring.enclave.service import Enclave, EnclaveDependencies
from wellspring.observe.lineage import LineageWriter
from wellspring.observe.metrics import StepMetrics
from wellspring.observe.recorder import StepRecorder
from wellspring.project import load_project
from wellspring.records.changes import ChangeDraft, ChangeRelease
from wellspring.records.clock import Clock
from wellspring.records.contracts import DataContract
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.approvals import record_approval, record_proposal
from wellspring.trust.changes.store import ChangeStore, build_change
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
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
        customProperties: [{{ property: egress, value: {egress} }}{domain}]
      - name: kind
        logicalType: string
        required: true
        classification: operational
        quality: [{{ type: library, metric: invalidValues, arguments: {{ validValues: [{kinds}] }}, mustBe: 0 }}]
        customProperties: [{{ property: egress, value: plain }}]
      - name: amount
        logicalType: number
        physicalType: decimal(12,2)
        required: true
        classification: financial
        customProperties: [{{ property: egress, value: plain }}]
"""
DOMAIN = ", { property: domain, value: claim }"
HEAD = "claim_id,kind,amount\n"


class _SignedIndex:
    """The index of a log, beside the entries of users: their enrollments, proposals and approvals."""

    def __init__(self, index: LedgerIndex, books: Books) -> None:
        self._index = index
        self._books = books

    def list_entries(self, **filters: Any) -> list[IndexedEntry]:
        own = {name: value for name, value in filters.items() if name != "after"}
        return [*self._index.list_entries(**filters), *self._books.list_entries(**own)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


class ProjectFixture:
    """A project in a folder, with a database, a vendor and a fixed clock that a test can move.

    ana proposes releases of contracts, bo approves them.
    """

    def __init__(self, folder: Path, database: Database, vendor: Vendor) -> None:
        self.folder = folder
        self.database = database
        self.vendor = vendor
        self.clock = FixedClock()
        self.root_key = os.urandom(32)
        self.ana, self.bo = Somebody("ana", "owner"), Somebody("bo", "approver")
        self.books = Books(self.ana, self.bo)
        folder.mkdir(exist_ok=True)
        (folder / "contracts").mkdir(exist_ok=True)
        (folder / ".wellspring").mkdir(exist_ok=True)
        (folder / "wellspring.toml").write_text(TOML)
        self.write_contract()

    def write_contract(
        self, *, version: str = "1.0.0", kinds: Iterable[str] = ("a", "b"), egress: str = "token"
    ) -> DataContract:
        """Write the contract file and return the loaded contract."""
        text = CONTRACT.format(
            version=version, kinds=", ".join(kinds), egress=egress, domain=DOMAIN if egress == "token" else ""
        )
        (self.folder / "contracts" / "claim.odcs.yaml").write_text(text)
        return self.contract()

    def draft_release(self, name: str = "claim", *, replaces: str = "", second_person: bool = True) -> ChangeRelease:
        """Keep the contract that is on disk, and a release of it that nobody signed."""
        changes = ChangeStore(load_project(self.folder).changes_dir)
        content = changes.objects.put((self.folder / "contracts" / f"{name}.odcs.yaml").read_bytes())
        draft = ChangeDraft(content=content, summary=("another version",), needs_second_person=second_person)
        return changes.save(
            build_change("contract", name, draft, replaces=replaces, tenant="wellspring-benefits", clock=self.clock)
        )

    def sign_release(
        self, change: ChangeRelease, *, approver: Somebody | None = None, is_approved: bool = True
    ) -> None:
        """Let ana propose a release, and bo or another user approve it."""
        record_proposal(
            change, change.content_ref, self.ana, ledger=self.books, policies=ANYTHING, step=self.books.step
        )
        if is_approved:
            record_approval(change, approver or self.bo, self.books, ANYTHING, step=self.books.step)

    def release_contract(self, enclave: Enclave, **contract: Any) -> DataContract:
        """Write a version of the contract, let two users sign its release, and put it into force."""
        written = self.write_contract(**contract)
        change = self.draft_release()
        self.sign_release(change)
        enclave.accept_contract(change.id)
        return written

    def contract(self) -> DataContract:
        (loaded,) = contracts.load_all(
            self.folder / "contracts", tenant="wellspring-benefits", known_since=self.clock.now()
        )
        return loaded

    def put(self, name: str, *rows: str) -> None:
        part = self.vendor.put(f".{name}.part", (HEAD + "".join(f"{row}\n" for row in rows)).encode())
        os.utime(part, (1_700_000_000, 1_700_000_000))
        part.rename(self.vendor.outbox / name)

    @contextmanager
    def open_enclave(self, *, crash_at: str | None = None, clock: Clock | None = None) -> Generator[Enclave]:
        self.dependencies = self.build_dependencies(crash_at=crash_at, clock=clock)
        try:
            yield Enclave(self.dependencies)
        finally:
            self.close()

    def build_dependencies(self, *, crash_at: str | None = None, clock: Clock | None = None) -> EnclaveDependencies:
        clock = clock or self.clock
        project = load_project(self.folder)
        self.store = self.database.store()
        self.journal = Journal(project.journals_dir, journal_key("enclave"), tenant=project.tenant, clock=clock)
        self.step = StepRecorder(
            service="enclave",
            actor="service:enclave",
            tenant=project.tenant,
            journal=self.journal,
            metrics=StepMetrics(project.state_dir / "metrics", "enclave"),
            lineage=LineageWriter(project.state_dir / "lineage" / "enclave.jsonl", project.name),
            clock=clock,
            crash_at=crash_at,
        )
        return EnclaveDependencies(
            project=project,
            store=self.store,
            keys=Keyring(self.root_key),
            open_source=lambda _: self.vendor.source(clock=clock),
            folder=project.enclave_dir / "originals",
            step=self.step,
            clock=clock,
            index=cast(LedgerIndex, _SignedIndex(open_ledger_index(project), self.books)),
        )

    def close(self) -> None:
        self.journal.close()
        self.store.close()

    def kill(self, crash_point: str, call: str, *arguments: object) -> None:
        """Run one operation in a child process that SIGKILL ends at a crash point."""
        result = {
            "folder": str(self.folder),
            "host": str(self.database.host),
            "vendor": str(self.vendor.folder),
            "port": self.vendor.port,
            "user_key": self.vendor.user_key,
            "root_key": self.root_key.hex(),
            "now": self.clock.now().isoformat(),
            "crash_at": crash_point,
            "call": call,
            "arguments": arguments,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "tests.builders.enclave_child"],
            input=json.dumps(result).encode(),
            capture_output=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "src:."},
        )
        assert ended.returncode == -9, (ended.returncode, ended.stderr.decode()[-2000:])

    def list_entries(self, action: str | None = None, phase: str = "done") -> list[Entry]:
        lines = [json.loads(line) for _, line in journal.read_lines(self.folder / ".wellspring/journals", "enclave")]
        every = [Entry.model_validate(line) for line in lines]
        return [entry for entry in every if entry.phase == phase and action in (None, entry.action)]

    def originals(self) -> list[str]:
        return list(originals_module.list_originals(self.folder / ".wellspring/enclave/originals"))


def reset_database(database: Database) -> None:
    """Empty the database."""
    store = database.store()
    with store._transaction() as run:
        run.execute("DROP SCHEMA public CASCADE")
        run.execute("CREATE SCHEMA public")
    store.close()


def source(result: dict[str, Any], clock: Clock) -> SftpSource:
    """Open the SFTP source of a vendor in another process."""
    known_hosts = Path(result["vendor"]) / "known_hosts"
    return open_sftp_source(result["port"], known_hosts, result["user_key"], clock=clock)
