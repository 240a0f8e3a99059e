"""The ports of an ingest as fakes: a lake of parts, an enclave that records what it admits, and contracts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.contracts import contract
from tests.builders.drops import admission_counts
from tests.builders.entry_index import Index
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring import workflows
from wellspring.data.intake.drop_index import DropIndex
from wellspring.errors import NotFound, Refused
from wellspring.lake.lake import DropRowCount
from wellspring.lake.staging import StagedPart
from wellspring.project import Project
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionResult, Drop, SourceFile
from wellspring.records.lake import Edition
from wellspring.records.trust import IndexedEntry, Ref
from wellspring.records.verdict import Reason, Verdict

SOURCE = "vendor"
CLAIMS = contract(name="claim", set="daily")
PEOPLE = contract(name="people", digest="1" * 64, files="people_*.csv", set="daily")
ALONE = contract(name="alone", digest="4" * 64, files="alone_*.csv", key=("id",))
BROKEN = Verdict(subject="drop", outcome="fail", reasons=(Reason(code="missing_column", message="it lacks id"),))


class Lake:
    """Rows of parts: waiting, then published."""

    def __init__(self, step: RecordingStep) -> None:
        self.step = step
        self.waiting: list[StagedPart] = []
        self.published: list[StagedPart] = []
        self.newest: Edition | None = None
        self.looked_up: list[tuple[str, Any]] = []
        self.incompatible: set[str] = set()

    def stage_part(self, taken: AdmissionResult, contract: DataContract, *, step: RecordingStep) -> StagedPart:
        drop = taken.drop
        staged = StagedPart(
            table=contract.name, snapshot_id=1, drop=drop.id, replay_number=drop.replay_number,
            rows=taken.counts.admitted, rows_digest=taken.counts.rows_digest, source=drop.source,
            contract=contract.name, contract_version=contract.version,
        )  # fmt: skip
        if not self.has_part(drop.id, drop.replay_number):
            self.waiting.append(staged)
        return staged

    def staged_parts(self) -> tuple[StagedPart, ...]:
        return tuple(self.waiting)

    def publish(self, source: str, staged: Iterable[StagedPart], *, step: RecordingStep) -> Edition:
        staged = list(staged)
        edition = Edition(
            tenant="acme", known_since=step.clock.now(), id=f"e{len(self.published)}", level="landed",
            parent=self.newest.id if self.newest else None, tables=(), drops=tuple(item.drop for item in staged),
        )  # fmt: skip
        with step("publish", edition.subject, intent=True, inputs=[item.rows_ref for item in staged]):
            self.published += staged
            self.waiting = [item for item in self.waiting if item not in staged]
            self.newest = edition
        return edition

    def adapt_table(self, name: str, schema: pa.Schema) -> None:
        if name in self.incompatible:
            raise Refused.because(
                f"dataset:{name}", "incompatible_schema", "column k has another type", fix="restore it"
            )

    def has_rows(self, table: str) -> bool:
        return any(item.table == table for item in (*self.waiting, *self.published))

    def find_rows_by_key(self, contract: DataContract, keys: Any, *, engine: Any, scratch: Any) -> list[pa.RecordBatch]:
        self.looked_up.append((contract.name, keys))
        return []

    def recover(self, intents: Iterable[IndexedEntry], *, step: RecordingStep) -> tuple[Edition, ...]:
        for intent in intents:
            step.complete_after_crash("publish", intent.entry.subject, intent.entry.id)
        return ()

    def get_edition(self) -> Edition | None:
        return self.newest

    def index_parts(self) -> Lake:
        return self

    def has_part(self, drop: str, part: int) -> bool:
        return any((item.drop, item.replay_number) == (drop, part) for item in (*self.waiting, *self.published))

    def count_drop_rows(self, drop: str) -> DropRowCount:
        def rows(current: list[StagedPart]) -> int:
            return sum(item.rows for item in current if item.drop == drop)

        return DropRowCount(published=rows(self.published), waiting=rows(self.waiting))


class Vault:
    """An outbox and its enclave. files: what lies there; takes: what each one becomes."""

    def __init__(self, step: RecordingStep) -> None:
        self.step = step
        self.files: list[SourceFile] = []
        self.takes: dict[str, Callable[[], AdmissionResult]] = {}
        self.confirmed: list[tuple[str, int]] = []
        self.requests: list[str] = []
        self.known_rows: Any = None

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        return tuple(self.files)

    def read_file_keys(self, source: str, name: str, contract_digest: str, *, progress: Any = None) -> str:
        return f"keys of {name}"

    def ingest_file(
        self, source: str, name: str, contract_digest: str, *, known_rows: Any = None, progress: Any = None
    ) -> AdmissionResult:
        self.requests.append(name)
        self.known_rows = known_rows
        return self.takes[name]()

    def read_quarantined_keys(self, drop: str, contract_digest: str, *, progress: Any = None) -> str:
        return f"keys of {drop}"

    def replay_quarantined(
        self, drop: str, contract_digest: str, *, known_rows: Any = None, progress: Any = None
    ) -> AdmissionResult:
        return self.takes[drop]()

    def confirm_published(self, drop: str, part: int) -> None:
        self.confirmed.append((drop, part))
        with self.step("settle", f"drop:{drop}", facts={"replay_number": part}):
            pass


class Sequencer:
    def integrate(self) -> None:
        return


class World:
    """The ports of a `bootstrap.Platform`, as fakes."""

    def __init__(self, *, die_at: str | None = None) -> None:
        self.clock = FixedClock()
        self.step = RecordingStep(clock=self.clock, die_at=die_at, service="worker")
        self.index = Index(self.step)
        self.drops = DropIndex(None, self.index)  # type: ignore[arg-type]
        self.lake, self.vault, self.sequencer = Lake(self.step), Vault(self.step), Sequencer()
        self.ledger = self
        self.query_engine = None
        self.project = Project.model_validate(
            {"project": {"name": "tests", "tenant": "acme"}, "sources": {SOURCE: {"kind": "sftp"}}, "root": "/nowhere"}
        )

    def sends(
        self, name: str, *, received: int = 10, quarantined: int = 0, good: bool = True,
        data_contract: DataContract = CLAIMS, source: str = SOURCE,
    ) -> str:  # fmt: skip
        """Put a file into the outbox; returns its drop's id."""
        drop = f"{source}-{name}"
        self.vault.files.append(listed(name, "new", contract=data_contract.name))
        self.vault.takes[name] = lambda: self.took(drop, name, received, quarantined, good, data_contract, source)
        return drop

    def took(
        self,
        drop: str,
        name: str,
        received: int,
        quarantined: int,
        good: bool,
        data_contract: DataContract,
        source: str,
    ) -> AdmissionResult:
        """Record what the enclave records of one file, and answer what it hands out."""
        landed: dict[str, Any] = {"name": name, "contract": data_contract.name}
        with self.step("land", f"drop:{drop}", inputs=[Ref(name=f"source:{source}/{name}")], facts=landed):
            pass
        admitted = received - quarantined if good else 0
        self.admits(drop, received=received, admitted=admitted, quarantined=quarantined, good=good, by=data_contract)
        self.vault.files = [
            listed(path.name, "ingested", drop=drop, contract=data_contract.name) if path.name == name else path
            for path in self.vault.files
        ]
        return intake(drop, data_contract, admitted, quarantined=quarantined, good=good, source=source)

    def admits(
        self, drop: str, *, part: int = 0, received: int, admitted: int, quarantined: int = 0, good: bool = True,
        by: DataContract = CLAIMS,
    ) -> None:  # fmt: skip
        facts: dict[str, Any] = {
            "replay_number": part, "outcome": "pass" if good else "fail", "received": received, "admitted": admitted,
            "quarantined": quarantined if good else 0,
        }  # fmt: skip
        contract_ref = Ref(name=f"contract:{by.name}@{by.version}", digest=by.digest)
        with self.step("admit", f"drop:{drop}", inputs=[contract_ref], facts=facts):
            pass

    def replays(self, drop: str, *, part: int, waited: int, admitted: int) -> None:
        """Record what the enclave records of a replay; it answers the same part again."""
        self.admits(drop, part=part, received=waited, admitted=admitted, quarantined=waited - admitted)
        self.vault.takes[drop] = lambda: intake(drop, CLAIMS, admitted, part=part, quarantined=waited - admitted)

    def gives_up(self, drop: str, *, part: int, rows: int) -> AdmissionResult:
        """Do what the enclave does when a part is asked for again after its original was destroyed."""
        with self.step("expire", f"drop:{drop}", facts={"discarded": rows, "replay_number": part}):
            pass
        raise NotFound("the original is gone", fix="ask the vendor")

    def refuses(self, drop: str) -> None:
        """Record what the enclave records of a replay that repairs nothing: an entry without facts."""
        with pytest.raises(Refused), self.step("admit", f"drop:{drop}"):
            raise Refused("none keeps it", fix="mend it")

    def finds(self, finding: str, code: str) -> None:
        """Record what the enclave records of a finding."""
        facts: dict[str, Any] = {"finding": finding, "code": code, "source": SOURCE, "shown": "x", "message": "m"}
        with self.step("finding", f"file:{SOURCE}/0", facts=facts):
            pass
        self.step.entries[-1] = self.step.entries[-1].model_copy(update={"service": "enclave"})

    def receive(self) -> workflows.IngestResult:
        return workflows.ingest_source(self, SOURCE)  # type: ignore[arg-type]

    def account(self, drop: str) -> dict[str, int]:
        """Say an account without its zeros."""
        matches = workflows.build_row_account(self, drop)  # type: ignore[arg-type]
        assert matches.balanced
        return {name: count for name, count in matches.model_dump().items() if count}


def raise_refused(error: Refused) -> AdmissionResult:
    raise error


def listed(name: str, state: Any, *, drop: str | None = None, contract: str | None = None) -> SourceFile:
    instant = FixedClock().now()
    return SourceFile(source=SOURCE, name=name, size=1, modified=instant, state=state, drop=drop, contract=contract)


def intake(
    drop: str, data_contract: DataContract, admitted: int, *, part: int = 0, quarantined: int = 0, good: bool = True,
    source: str = SOURCE,
) -> AdmissionResult:  # fmt: skip
    named = Drop(
        tenant="acme", known_since=FixedClock().now(), id=drop, source=source, name=drop, digest="2" * 64, size=1,
        contract=data_contract.name, contract_version=data_contract.version, contract_digest=data_contract.digest,
        replay_number=part,
    )  # fmt: skip
    verdict = Verdict(subject=named.subject, outcome="pass") if good else BROKEN
    table: Any = object() if good and admitted else None
    counts = admission_counts(verdict, admitted=admitted, quarantined=quarantined, rows_digest="3" * 64)
    return AdmissionResult(named, counts, table)


def fates(received: workflows.IngestResult) -> dict[str, str]:
    return {path.name: path.status for path in received.files}
