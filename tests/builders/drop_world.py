"""A project in this process with two contracts of one set, and a user who decides about its drops."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.builders.approvals import Somebody
from tests.builders.enclave import reset_database
from tests.builders.local_platform import SOURCE, LocalProject, local_project
from tests.builders.postgres import Database
from tests.builders.user_notes import SIGNED_AT, sign
from wellspring import workflows
from wellspring.bootstrap import Platform
from wellspring.records.user_notes import NoteKind, UserNote
from wellspring.trust.user_notes import hash_reason
from wellspring.workflows import ChangeSummary

REASON = "the vendor sent a test file"
_CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: {version}
status: active
team:
  - {{ username: data@vendor.example.com, role: owner }}
customProperties:
  - {{ property: source, value: clearinghouse }}
  - {{ property: files, value: "{name}_*.csv" }}
  - {{ property: format, value: csv }}
  - {{ property: set, value: daily }}
slaProperties:
  - {{ property: retention, value: 7, unit: d }}
schema:
  - name: {name}
    properties:
      - name: number
        logicalType: string
        required: true
        primaryKey: true
        classification: operational
        customProperties: [{{ property: egress, value: plain }}]
      - name: kind
        logicalType: string
        required: true
        classification: operational
        quality: [{{ type: library, metric: invalidValues, arguments: {{ validValues: [{kinds}] }}, mustBe: 0 }}]
        customProperties: [{{ property: egress, value: plain }}]
      - name: amount
        logicalType: number
        physicalType: decimal(12,{scale})
        required: true
        classification: financial
        customProperties: [{{ property: egress, value: plain }}]
"""
_TOML = """
[models]

[users.ana]
roles = ["owner"]

[users.bo]
roles = ["approver"]
"""
_NOTES: dict[str, NoteKind] = {"withdraw": "withdrawal", "rejudge": "rejudgement", "discard": "discard"}


class DropWorld:
    """The project, and its user. Each call opens the ports of the worker anew, as a job does."""

    def __init__(self, local: LocalProject) -> None:
        self.local = local
        self.ana, self.bo = Somebody("ana", "owner"), Somebody("bo", "approver")
        local.enroll(self.ana)
        local.enroll(self.bo)
        policies = local.project.source_paths["policies"]
        policies.mkdir(exist_ok=True)
        permit = 'permit (principal in Role::"{role}", action, resource);\n'
        (policies / "users.cedar").write_text("".join(permit.format(role=role) for role in ("owner", "approver")))
        self._signed = 0

    def write_contract(self, name: str, *, version: str = "1.0.0", kinds: str = "a, b", scale: int = 2) -> None:
        """Write a contract: `order` or `price`."""
        (self.local.project.root / "contracts" / f"{name}.odcs.yaml").write_text(
            _CONTRACT.format(name=name, version=version, kinds=kinds, scale=scale)
        )

    def release_contract(self, name: str, **contract: Any) -> ChangeSummary:
        """Write a version of a contract, if one is given, and let two users release it."""
        if contract:
            self.write_contract(name, **contract)
        with self.local.open_platform() as platform:
            change = workflows.draft_change(platform, "contract", name, progress=lambda *_: None).release
        signed = (change.signed_name, change.id, change.digest)
        with self.local.open_platform() as platform:
            workflows.propose_change(platform, change.id, note=sign(self.ana, "proposal", *signed))
        with self.local.open_platform() as platform:
            return workflows.approve_change(platform, change.id, note=sign(self.bo, "release", *signed))

    def send(self, name: str, *rows: str, header: str = "number,kind,amount") -> None:
        """Deliver a file, which appears complete."""
        part = self.local.outbox / f".{name}.part"
        part.write_text("\n".join((header, *rows)) + "\n")
        part.rename(self.local.outbox / name)

    def ingest(self) -> workflows.IngestResult:
        with self.local.open_platform() as platform:
            return workflows.ingest_source(platform, SOURCE)

    def sign(self, act: str, drop: str, reason: str = REASON) -> UserNote:
        """Sign a decision; each note is another one."""
        self._signed += 1
        signed_at = SIGNED_AT.replace("000000Z", f"{self._signed:06}Z")
        return sign(self.ana, _NOTES[act], drop, hash_reason(reason), signed_at)

    def decide(self, act: str, drop: str, *, note: UserNote | None = None, reason: str = REASON) -> Any:
        """Withdraw a drop, judge it again, or discard its quarantined rows, as the user."""
        run: Any = {
            "withdraw": workflows.withdraw_drop,
            "rejudge": workflows.rejudge_drop,
            "discard": workflows.discard_quarantined,
        }[act]
        with self.local.open_platform() as platform:
            return run(platform, drop, note=note or self.sign(act, drop, reason), reason=reason)

    def show(self, drop: str) -> workflows.DropSummary:
        """Describe a drop; its account balances."""
        with self.local.open_platform() as platform:
            platform.sequencer.integrate()
            described = workflows.describe_drop(platform, drop)
        assert described.account.balanced, described
        return described

    def account(self, drop: str) -> dict[str, int]:
        """Return the row account of a drop without its zeros."""
        return {name: rows for name, rows in self.show(drop).account.model_dump().items() if rows}

    def rows(self, table: str) -> list[tuple[str, str]]:
        """List the published rows of a table: drop and number."""
        with self.local.open_platform() as platform:
            edition = platform.lake.get_edition()
            if edition is None or table not in {item.table for item in edition.tables}:
                return []
            read = platform.lake.read_table(edition, table, ("drop_id", "number"))
        return sorted(zip(read["drop_id"].to_pylist(), read["number"].to_pylist(), strict=True))

    @contextmanager
    def open_platform(self) -> Generator[Platform]:
        with self.local.open_platform() as platform:
            yield platform


@contextmanager
def drop_world(folder: Path, database: Database) -> Generator[DropWorld]:
    """Create the project; its database is emptied at the end."""
    try:
        with local_project(folder / "project", database, contracts=(), toml=_TOML) as local:
            world = DropWorld(local)
            world.write_contract("order")
            world.write_contract("price")
            yield world
    finally:
        reset_database(database)


def drops_of(result: workflows.IngestResult) -> dict[str, str]:
    """Return the drops of a run by file."""
    return {file.name: file.drop for file in result.files if file.drop}


def states_of(result: workflows.IngestResult) -> dict[str, str]:
    """Return what became of the files of a run."""
    return {file.name: file.status for file in result.files}
