"""The intake service of the enclave: list, ingest, replay, confirm, decide about drops, and list quarantined rows.

One operation runs at a time. Each begins with maintenance: pending ledger entries and expired originals. Each change is
one transaction with its outbox entry (see `outbox.py`), so an operation that was killed can be repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wellspring.data.intake import originals
from wellspring.data.sources.port import FileSource
from wellspring.enclave import outbox, retention
from wellspring.enclave.admission import Admitter, EnclaveDependencies
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.enclave.decryption import Decryptor
from wellspring.enclave.drop_decisions import DropDecisions
from wellspring.enclave.file_watch import FileWatch
from wellspring.enclave.findings import FindingRecorder
from wellspring.enclave.listing import SourceLister, content_unchanged
from wellspring.enclave.person_backfill import PersonBackfill
from wellspring.enclave.person_rows import PersonKeys
from wellspring.enclave.source_reader import SourceReader, open_file
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.records.contracts import ContractReview, DataContract
from wellspring.records.ingestion import AdmissionResult, PersonCounts, QuarantineCount, QuarantinedRow, SourceFile
from wellspring.records.user_notes import UserNote
from wellspring.trust.dlp.registry import load_scanner
from wellspring.trust.vault.port import ProgressCallback
from wellspring.trust.vault.records import AdmissionPart, OutboxEntry, StoredDrop

if TYPE_CHECKING:
    import pyarrow as pa


class Enclave:
    """Implements IntakeService."""

    def __init__(self, dependencies: EnclaveDependencies) -> None:
        self._dependencies = dependencies
        # Not an RLock: a new thread with the id of an ended owner could acquire that.
        self._lock = threading.Lock()
        self._scanner = load_scanner(dependencies.project)
        self._decryptor = Decryptor(dependencies.store, dependencies.keys, folder=dependencies.folder)
        self._findings = FindingRecorder(dependencies.store, dependencies.step, self._scanner, self._decryptor.name_key)
        self._watch = FileWatch()
        self._contracts = ContractRegistry(
            dependencies.project,
            dependencies.store,
            self._scanner,
            step=dependencies.step,
            clock=dependencies.clock,
            index=dependencies.index,
        )
        self._admitter = Admitter(dependencies, self._contracts, self._decryptor, self._scanner)
        self._decisions = DropDecisions(dependencies, self._contracts, self._admitter)
        self._backfill = PersonBackfill(dependencies, self._contracts, self._admitter)
        # Whether an original without a key may be in the folder: after a crash, or after a failed operation.
        self._has_orphans = True
        self.run_maintenance()

    def run_maintenance(self) -> None:
        """Remove orphans, write pending ledger entries, expire originals, and record overdue originals.

        Called at start, before each operation and hourly.
        """
        with self._lock:
            self._has_orphans = True
            self._run_maintenance()
            PersonKeys(self._dependencies.store, self._dependencies.keys).follow_rotation()

    def _run_maintenance(self) -> None:
        """Run the maintenance; the caller holds the lock."""
        store, folder, step = self._dependencies.store, self._dependencies.folder, self._dependencies.step
        # Files first, so that an entry with "removed" is written after the file is removed.
        # Looking through the folder costs each original that was ever stored, so it is done only when one may be left.
        if self._has_orphans or store.outbox.has_pending_rows():
            retention.remove_orphans(store, folder=folder)
            self._has_orphans = False
        outbox.flush_outbox(
            store, step=step, journals=self._dependencies.project.journals_dir, index=self._dependencies.index
        )
        now = self._dependencies.clock.now()
        retention.expire_originals(store, folder=folder, step=step, now=now)
        for stored_drop in retention.find_overdue(store, keys=self._dependencies.keys, folder=folder, now=now):
            self._findings.record_overdue_original(stored_drop)

    def drain(self, *, timeout: float = 8.0) -> None:
        """Wait for the running operation and block further ones, before the dependencies are closed."""
        # Never released, so that waiting operations do not start.
        self._lock.acquire(timeout=timeout)

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        with self._lock:
            self._run_maintenance()
            file_source, project_contracts = self._open_source(source), self._contracts.read_all()
            return SourceLister(
                source,
                file_source,
                project_contracts,
                self._dependencies.store,
                self._findings,
                self._watch,
                self._dependencies.project.source_settings(source).settle_seconds,
                self._dependencies.clock.now(),
            ).list_files()

    def ingest_file(
        self,
        source: str,
        name: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        report_progress = progress or _ignore_progress
        with self._lock:
            stored_drop, part = self._fetch_file(source, name, contract_digest, report_progress)
            if part is not None:
                return self._admitter.repeat_part(stored_drop, part, report_progress)
            return self._admitter.admit_drop(stored_drop, known_rows, report_progress)

    def read_file_keys(
        self, source: str, name: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        report_progress = progress or _ignore_progress
        with self._lock:
            stored_drop, part = self._fetch_file(source, name, contract_digest, report_progress)
            if part is not None or self._admitter.find_earlier_copy(stored_drop) is not None:
                return None
            contract = self._contracts.accepted_by_digest(stored_drop.drop.contract_digest)
            return self._admitter.read_keys(stored_drop, contract, None, report_progress)

    def replay_quarantined(
        self,
        drop: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        report_progress = progress or _ignore_progress
        with self._lock:
            stored_drop, contract, part = self._find_replay(drop, contract_digest)
            if part.replay_number > 0 and not part.settled:
                return self._admitter.repeat_part(stored_drop, part, report_progress)
            return self._admitter.admit_replay(
                stored_drop, part.replay_number + 1, contract, known_rows, report_progress
            )

    def read_quarantined_keys(
        self, drop: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        report_progress = progress or _ignore_progress
        with self._lock:
            stored_drop, contract, part = self._find_replay(drop, contract_digest)
            if part.replay_number > 0 and not part.settled:
                return None
            row_numbers = self._dependencies.store.list_row_numbers(drop)
            return (
                self._admitter.read_keys(stored_drop, contract, row_numbers, report_progress) if row_numbers else None
            )

    def _fetch_file(
        self, source: str, name: str, contract_digest: str, report_progress: ProgressCallback
    ) -> tuple[StoredDrop, AdmissionPart | None]:
        """Fetch a file, or find its drop. Returns the drop, and its first admission if there is one."""
        self._run_maintenance()
        file_source = self._open_source(source)
        if unusable := self._findings.check_name(name):
            raise NotFound(f"'{unusable.shown}' is not ingested: {unusable.message}", fix="ask the vendor to rename it")
        contract = self._contracts.accept(contract_digest, source=source, name=name)
        stored_drop = self._dependencies.store.find_drop_by_name(source, name)
        if stored_drop is None:
            stored_drop = self._store_original(source, name, file_source, contract, report_progress)
        else:
            self._record_change(stored_drop, file_source)
        parts = self._dependencies.store.list_parts(stored_drop.drop.id)
        if not parts:
            self._decisions.refuse_withdrawn(stored_drop)
            stored_drop = self._decisions.use_contract(stored_drop, contract)
        self._check_retention(stored_drop, parts[0] if parts else None)
        return stored_drop, parts[0] if parts else None

    def _check_retention(self, stored_drop: StoredDrop, part: AdmissionPart | None) -> None:
        """Raise Refused, under a finding, if rows of a drop can no longer be published: its original is destroyed."""
        if stored_drop.wrapped_key is not None or (part is not None and not part.counts.admitted):
            return
        if part is not None:
            self._admitter.discard_part(stored_drop, part)
        finding = self._findings.record_lost_drop(stored_drop)
        raise Refused.because(
            f"finding:{finding.id}",
            finding.code,
            finding.message,
            what=f"{stored_drop.drop.subject} cannot be published: {finding.message}",
            fix="ask the vendor for the file under a new name",
            outcome="inconclusive",
        )

    def _find_replay(self, drop: str, contract_digest: str) -> tuple[StoredDrop, DataContract, AdmissionPart]:
        """Find a drop, the contract of its replay, and its latest part."""
        self._run_maintenance()
        stored_drop = self._dependencies.store.get_drop(drop)
        parts = self._dependencies.store.list_parts(drop)
        if parts and parts[-1].replay_number > 0 and not parts[-1].settled:
            # Its rows are made again by the contract that released them, even if the project has a newer one.
            return stored_drop, self._contracts.accepted_by_digest(parts[-1].contract_digest), parts[-1]
        contract = self._contracts.accept(contract_digest)
        if contract.name != stored_drop.drop.contract:
            raise Refused(
                f"{stored_drop.drop.subject} has the contract {stored_drop.drop.contract}, not {contract.name}",
                fix=f"use a version of {stored_drop.drop.contract}",
            )
        if not parts:
            raise Refused(f"{stored_drop.drop.subject} was not admitted yet", fix="run `wellspring ingest` first")
        return stored_drop, contract, parts[-1]

    def confirm_published(self, drop: str, replay_number: int) -> None:
        with self._lock:
            self._run_maintenance()
            stored_drop, store, step = (
                self._dependencies.store.get_drop(drop),
                self._dependencies.store,
                self._dependencies.step,
            )
            matching = [
                admission_part
                for admission_part in store.list_parts(drop)
                if admission_part.replay_number == replay_number
            ]
            if not matching:
                raise NotFound(
                    f"{stored_drop.drop.subject} has no part with the replay number {replay_number}",
                    fix="use the replay number from the result of an intake or a replay",
                )
            if matching[0].settled:
                return
            outbox_entry = OutboxEntry(
                f"settle/{drop}/{replay_number}",
                "settle",
                stored_drop.drop.subject,
                (),
                (),
                {"replay_number": replay_number},
            )
            with step("settle", stored_drop.drop.subject) as act:
                outbox.fill_step(act, outbox_entry)
                store.settle_part(drop, replay_number, outbox_entry)
                step.crash_point("enclave.settle:confirmed")
            store.outbox.mark_published(outbox_entry.key)

    def review_contract(self, digest: str) -> ContractReview:
        with self._lock:
            return self._contracts.review_contract(digest)

    def accept_contract(self, release: str) -> None:
        with self._lock:
            self._run_maintenance()
            self._contracts.accept_change(release)

    def withdraw_drop(self, drop: str, note: UserNote, reason: str) -> None:
        with self._lock:
            self._run_maintenance()
            self._decisions.withdraw_drop(drop, note, reason)

    def check_rejudge(self, drop: str, contract_digest: str) -> None:
        with self._lock:
            self._run_maintenance()
            self._decisions.check_rejudge(drop, contract_digest)

    def rejudge_drop(self, drop: str, contract_digest: str, note: UserNote | None, reason: str) -> None:
        with self._lock:
            self._run_maintenance()
            self._decisions.rejudge_drop(drop, contract_digest, note, reason)

    def discard_quarantined(self, drop: str, note: UserNote, reason: str) -> int:
        with self._lock:
            self._run_maintenance()
            return self._decisions.discard_quarantined(drop, note, reason)

    def count_quarantined(self, drop: str | None = None) -> tuple[QuarantineCount, ...]:
        with self._lock:
            if drop is not None:
                self._dependencies.store.get_drop(drop)
            return self._dependencies.store.count_quarantined(drop)

    def list_quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        with self._lock:
            store = self._dependencies.store
            drops = store.list_drops() if drop is None else (store.get_drop(drop),)
            return tuple(row for stored_drop in drops for row in self._decryptor.masked_rows(stored_drop))

    def count_persons(self) -> PersonCounts:
        with self._lock:
            rows = self._dependencies.store.people.count_rows()
            return PersonCounts(rows=rows, unread_drops=self._backfill.list_drops())

    def backfill_drop(self, drop: str, *, progress: ProgressCallback | None = None) -> int:
        with self._lock:
            self._run_maintenance()
            return self._backfill.read_drop(drop, progress or _ignore_progress)

    def _store_original(
        self, source: str, name: str, file_source: FileSource, contract: DataContract, report_progress: ProgressCallback
    ) -> StoredDrop:
        step, store = self._dependencies.step, self._dependencies.store
        self._has_orphans = True
        settle_seconds = self._dependencies.project.source_settings(source).settle_seconds
        with (
            open_file(
                source,
                name,
                file_source,
                version=self._watch.listed_version(source, name),
                is_settled=lambda file: self._watch.is_settled(
                    source, file, settle_seconds, self._dependencies.clock.now()
                ),
                findings=self._findings,
                report_progress=report_progress,
            ) as stream,
            self._record_failed_land(source, name, stream),
        ):
            original = originals.store_original(
                stream,
                source=source,
                name=name,
                contract=contract,
                keys=self._dependencies.keys,
                folder=self._dependencies.folder,
                received=self._dependencies.clock.now(),
            )
            stored_drop = StoredDrop(
                original.drop,
                stream.file.modified,
                original.digest,
                original.wrapped_key,
                original.retention_until,
                stream.file.identity,
            )
        # The file is written before its key is stored: until then, it is an orphan that the next maintenance removes.
        with step("land", stored_drop.drop.subject) as act:
            step.crash_point("enclave.land:original_written")
            outbox_entry = outbox.landed_entry(stored_drop)
            outbox.fill_step(act, outbox_entry)
            store.save_drop(stored_drop, outbox_entry)
            self._has_orphans = False
        step.crash_point("enclave.land:recorded")
        store.outbox.mark_published(outbox_entry.key)
        return stored_drop

    @contextmanager
    def _record_failed_land(self, source: str, name: str, stream: SourceReader) -> Generator[None]:
        """Record a failure to encrypt or to write an original as a step; a file that cannot be read is not one.

        The step's subject is the file: the id of a drop is known only when all of it was read.
        """
        try:
            yield
        except Exception as exc:
            # Whatever failed is recorded, and raised again.
            if exc is not stream.failure:
                with self._dependencies.step("land", self._findings.failure_subject(source, name)):
                    raise
            raise

    def _record_change(self, stored_drop: StoredDrop, file_source: FileSource) -> None:
        """Record a finding if the file of a drop has other content now. The stored original is what was received."""
        try:
            remote_file = file_source.stat(stored_drop.drop.name)
            if not content_unchanged(stored_drop, remote_file, file_source, self._dependencies.store):
                self._findings.record_changed_file(stored_drop, remote_file)
        except (NotFound, Unavailable, Refused):
            # The file or the server is gone, or the file is still being written: the next listing decides.
            return

    def _open_source(self, name: str) -> FileSource:
        self._dependencies.project.source_settings(name)
        return self._dependencies.open_source(name)


def _ignore_progress(_stage: str, _done: int, _total: int) -> None:
    return None
