"""Admit a drop: its rows are validated, and the result is stored in one transaction with its ledger entry.

The caller holds the lock of the enclave. An admission that was killed can be repeated: it gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.data.intake.known_rows import DROP, KnownRows, has_comparable_key
from wellspring.data.intake.originals import OriginalContent
from wellspring.data.sources.port import FileSource
from wellspring.enclave import intake, outbox
from wellspring.enclave.attempts import MAX_ENDED_ATTEMPTS, AttemptCounter
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.enclave.decryption import Decryptor
from wellspring.enclave.intake import DropInput, ProcessedDrop
from wellspring.enclave.person_rows import PersonKeys, PersonRowSealer
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionResult
from wellspring.records.observe import Recorder
from wellspring.records.verdict import Verdict
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.keys.port import DataKeys
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.vault.port import ProgressCallback
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import (
    AdmissionPart,
    OutboxEntry,
    StoredDrop,
    decode_row_numbers,
    encode_row_numbers,
)

if TYPE_CHECKING:
    import pyarrow as pa


class EnclaveDependencies(NamedTuple):
    """Dependencies of the enclave. open_source: opens a source by name. folder: of the encrypted originals.

    index: of the log, in which it looks for entries that its journal no longer has.
    """

    project: Project
    store: VaultStore
    keys: DataKeys
    open_source: Callable[[str], FileSource]
    folder: Path
    step: Recorder
    clock: Clock
    index: LedgerIndex


_KEYS_SUFFIX = ".keys"
"""Attempts to read the keys of a drop, before its admission, are counted apart."""


class Admitter:
    """Admits drops and replays, and repeats admissions."""

    def __init__(
        self,
        dependencies: EnclaveDependencies,
        contracts: ContractRegistry,
        decryptor: Decryptor,
        scanner: PiiScanner,
    ) -> None:
        self._dependencies = dependencies
        self._contracts = contracts
        self._decryptor = decryptor
        self._scanner = scanner
        self._attempts = AttemptCounter(dependencies.folder.parent / "attempts")
        self._person_keys = PersonKeys(dependencies.store, dependencies.keys)

    def forget_attempts(self, drop_id: str) -> None:
        """Forget the attempts to read a drop in which the process ended."""
        self._attempts.forget_attempts(drop_id)
        self._attempts.forget_attempts(f"{drop_id}{_KEYS_SUFFIX}")

    def _drop_input(
        self,
        stored_drop: StoredDrop,
        content: OriginalContent,
        contract: DataContract,
        report_progress: ProgressCallback,
        known_rows: pa.Table | None = None,
    ) -> DropInput:
        if known_rows is not None:
            known_rows = self._select_stored_drops(contract, known_rows)
        return DropInput(
            content,
            contract,
            self._decryptor.tokenizer_for(
                contract, tenant=self._dependencies.project.qualify_tenant(stored_drop.drop.tenant)
            ),
            self._scanner,
            stored_drop.drop.subject,
            self._dependencies.folder,
            report_progress,
            known_rows=KnownRows(contract, known_rows) if known_rows is not None else None,
        )

    def _select_stored_drops(self, contract: DataContract, known_rows: pa.Table) -> pa.Table:
        """Select the rows of drops of the contract that the enclave has: what the worker says of others counts not."""
        import pyarrow as pa
        import pyarrow.compute as pc

        drops = known_rows[DROP].cast(pa.string())
        named = drops.unique().to_pylist()
        stored = self._dependencies.store.list_stored_ids(contract.name, named)
        if len(stored) == len(named):
            return known_rows
        return known_rows.filter(pc.is_in(drops, pa.array(sorted(stored), pa.string())))

    def read_keys(
        self,
        stored_drop: StoredDrop,
        contract: DataContract,
        row_numbers: list[int] | None,
        report_progress: ProgressCallback,
    ) -> pa.RecordBatchReader | None:
        """Return the keys of a drop, or of some of its rows; None if they do not leave the enclave."""
        import numpy as np

        if not has_comparable_key(contract):
            return None
        name = stored_drop.drop.id if row_numbers is None else _name_replay(stored_drop, contract)
        attempt = f"{name}{_KEYS_SUFFIX}"
        if self._attempts.read_count(attempt) >= MAX_ENDED_ATTEMPTS:
            # Its admission rejects it, unread.
            return None
        with self._attempts.count_attempt(attempt), self._decryptor.open_original(stored_drop) as content:
            drop_input = self._drop_input(stored_drop, content, contract, report_progress)
            only_rows = None if row_numbers is None else np.array(row_numbers, np.int64)
            return intake.read_keys(drop_input._replace(only_rows=only_rows)).open_reader()

    def find_earlier_copy(self, stored_drop: StoredDrop) -> AdmissionPart | None:
        """Return the admission of an earlier drop with the same bytes, if all rows of this one came before with it.

        None also if rows of it went to quarantine and the contract has a key: the rows are compared one by one then,
        because those in quarantine were not published, and may have been discarded since.
        """
        earlier = self._dependencies.store.find_earlier_copy(stored_drop.drop)
        contract = self._contracts.accepted_by_digest(stored_drop.drop.contract_digest)
        if earlier is not None and earlier.counts.quarantined and has_comparable_key(contract):
            return None
        return earlier

    def admit_drop(
        self, stored_drop: StoredDrop, known_rows: pa.Table | None, report_progress: ProgressCallback
    ) -> AdmissionResult:
        """Admit a stored drop for the first time: validate its rows, and store the result with its ledger entry."""
        step, store, drop = self._dependencies.step, self._dependencies.store, stored_drop.drop
        contract = self._contracts.accepted_by_digest(drop.contract_digest)
        with (
            self._attempts.count_attempt(drop.id) as ended_attempts,
            step("admit", drop.subject) as act,
            self._decryptor.open_original(stored_drop) as content,
        ):
            earlier, people = self.find_earlier_copy(stored_drop), None
            ended_attempts += self._attempts.read_count(f"{drop.id}{_KEYS_SUFFIX}")
            if ended_attempts >= MAX_ENDED_ATTEMPTS:
                processed = intake.reject_unread(drop.subject)
            elif earlier is not None:
                processed = intake.count_as_copies(drop.subject, earlier.drop, earlier.counts.received)
            else:
                people = self._open_people(stored_drop, contract)
                drop_input = self._drop_input(stored_drop, content, contract, report_progress, known_rows)
                processed = intake.process_drop(
                    drop_input._replace(people=people), self._decryptor.row_sealer(stored_drop)
                )
            part = AdmissionPart(
                drop.id,
                0,
                contract.digest,
                drop.known_since,
                processed.counts,
                settled=processed.counts.admitted == 0 and processed.counts.verdict.passed,
                excluded=encode_row_numbers(processed.excluded),
            )
            outbox_entry = outbox.admission_entry(stored_drop, part, contract, processed)
            outbox.fill_step(act, outbox_entry)
            person_rows = people.build_rows(drop.id) if people is not None and processed.rows is not None else None
            store.save_admission(part, processed.read_quarantined(), outbox_entry, person_rows)
            step.crash_point("enclave.admit:quarantined")
        step.crash_point("enclave.admit:recorded")
        store.outbox.mark_published(outbox_entry.key)
        return _build_result(stored_drop, part, contract, processed)

    def admit_replay(
        self,
        stored_drop: StoredDrop,
        replay_number: int,
        contract: DataContract,
        known_rows: pa.Table | None,
        report_progress: ProgressCallback,
    ) -> AdmissionResult:
        """Validate the quarantined rows of a drop again, and release those that pass."""
        import numpy as np

        step, store, drop = self._dependencies.step, self._dependencies.store, stored_drop.drop
        row_numbers = np.array(store.list_row_numbers(drop.id), np.int64)
        if not len(row_numbers):
            raise NotFound(f"{drop.subject} has no quarantined rows", fix="see `wellspring quarantine list`")
        attempt = _name_replay(stored_drop, contract)
        if sum(self._attempts.read_count(name) for name in (attempt, f"{attempt}{_KEYS_SUFFIX}")) >= MAX_ENDED_ATTEMPTS:
            # The count stays: a refused replay is not an attempt that came to its end.
            with step("admit", drop.subject):
                raise Refused(
                    f"the enclave ended each time it read {drop.subject} under {contract.name} {contract.version}",
                    fix="raise the contract's version, or ask the vendor for a corrected file with a new name",
                )
        with (
            self._attempts.count_attempt(attempt),
            step("admit", drop.subject) as act,
            self._decryptor.open_original(stored_drop) as content,
        ):
            drop_input = self._drop_input(stored_drop, content, contract, report_progress, known_rows)
            people = self._open_people(stored_drop, contract)
            processed = intake.process_drop(
                drop_input._replace(only_rows=row_numbers, people=people), self._decryptor.row_sealer(stored_drop)
            )
            self._check_replay(stored_drop, contract, processed, len(row_numbers))
            still_quarantined = list(processed.read_quarantined())
            remaining = np.array([record.row_number for record in still_quarantined], np.int64)
            part = AdmissionPart(
                drop.id,
                replay_number,
                contract.digest,
                self._dependencies.clock.now(),
                processed.counts,
                settled=processed.counts.admitted == 0,
                excluded=encode_row_numbers(processed.excluded),
            )
            outbox_entry = outbox.admission_entry(stored_drop, part, contract, processed)
            outbox.fill_step(act, outbox_entry)
            released = np.setdiff1d(row_numbers, remaining).tolist()
            person_rows = people.build_rows(drop.id) if people is not None else None
            store.save_replay(part, released, still_quarantined, outbox_entry, person_rows)
            step.crash_point("enclave.replay:chosen")
        step.crash_point("enclave.replay:recorded")
        store.outbox.mark_published(outbox_entry.key)
        return _build_result(stored_drop, part, contract, processed)

    def read_people(
        self, stored_drop: StoredDrop, contract: DataContract, report_progress: ProgressCallback
    ) -> PersonRowSealer | None:
        """Read a stored drop again for its persons without a row: of all rows that are valid and do not wait.

        None if the contract names no person, or if the file is rejected by it. Raises NotFound after its retention.
        """
        import numpy as np

        people = self._open_people(stored_drop, contract)
        if people is None:
            return None
        waiting = np.array(self._dependencies.store.list_row_numbers(stored_drop.drop.id), np.int64)
        with self._decryptor.open_original(stored_drop) as content:
            drop_input = self._drop_input(stored_drop, content, contract, report_progress)
            processed = intake.process_drop(drop_input._replace(excluded=waiting, people=people), None)
        if processed.rows is None:
            return None
        processed.rows.close()
        return people

    def _open_people(self, stored_drop: StoredDrop, contract: DataContract) -> PersonRowSealer | None:
        """Return what collects the new persons of a drop; None if its contract names no person."""
        if contract.person is None:
            return None
        tenant = self._dependencies.project.qualify_tenant(stored_drop.drop.tenant)
        return PersonRowSealer(
            contract,
            self._person_keys.open_cipher(),
            lambda tokens: self._dependencies.store.people.list_missing(tokens, tenant),
            tenant=tenant,
            folder=self._dependencies.folder,
        )

    def _check_replay(
        self, stored_drop: StoredDrop, contract: DataContract, processed: ProcessedDrop, quarantined: int
    ) -> None:
        """Raise Refused if a replay releases no row, or reads other rows than the first admission."""
        drop, counts = stored_drop.drop, processed.counts
        if not counts.verdict.passed:
            raise Refused(
                f"{drop.subject} cannot be read by {contract.name} {contract.version}",
                fix="correct the contract, or ask the vendor for a corrected file with a new name",
                verdict=counts.verdict,
            )
        if counts.received != quarantined:
            raise Refused(
                f"{contract.name} {contract.version} splits {drop.subject} into other rows than its first version",
                fix="ask the vendor to send the file again under a new name",
            )
        if counts.admitted == 0 and not counts.copies:
            raise Refused(
                f"all {quarantined} quarantined rows of {drop.subject} are still invalid "
                f"under {contract.name} {contract.version}",
                fix="correct the contract, or ask the vendor for a corrected file with a new name",
                verdict=Verdict(subject=drop.subject, outcome="fail", reasons=counts.reasons),
            )

    def repeat_part(
        self, stored_drop: StoredDrop, part: AdmissionPart, report_progress: ProgressCallback
    ) -> AdmissionResult:
        """Compute the result of a part again. Raises NotFound after the retention, CorruptedError if it differs."""
        import numpy as np

        drop, contract = stored_drop.drop, self._contracts.accepted_by_digest(part.contract_digest)
        if not part.counts.verdict.passed or not part.counts.admitted:
            return _build_result(stored_drop, part, contract, None)
        if part.replay_number and stored_drop.wrapped_key is None:
            self.discard_part(stored_drop, part)
        with self._decryptor.open_original(stored_drop) as content:
            drop_input = self._drop_input(stored_drop, content, contract, report_progress)._replace(
                excluded=decode_row_numbers(part.excluded)
            )
            if part.replay_number:
                released = self._dependencies.store.list_row_numbers(drop.id, replay_number=part.replay_number)
                drop_input = drop_input._replace(only_rows=np.array(released, np.int64))
            processed = intake.process_drop(drop_input, None)
        if processed.counts.rows_digest != part.counts.rows_digest:
            raise CorruptedError(
                f"{drop.subject} part {part.replay_number}: repeating the admission gave other rows",
                fix="if [dlp] of wellspring.toml or the version of wellspring changed, restore it and try again; "
                "otherwise keep all files unchanged, and do not retry",
            )
        return _build_result(stored_drop, part, contract, processed)

    def discard_part(self, stored_drop: StoredDrop, part: AdmissionPart) -> None:
        """Discard the rows of a part that was not confirmed before the retention of the original ended."""
        store, drop = self._dependencies.store, stored_drop.drop
        if part.settled:
            return
        released = store.list_row_numbers(drop.id, replay_number=part.replay_number) if part.replay_number else ()
        rows = len(released) if part.replay_number else part.counts.admitted
        discard_facts: dict[str, JsonValue] = {"discarded": rows, "replay_number": part.replay_number}
        if not part.replay_number:
            discard_facts["unpublished"] = True
        outbox_entry = OutboxEntry(
            f"expire/{drop.id}/{part.replay_number}", "expire", drop.subject, (), (), discard_facts
        )
        with self._dependencies.step("expire", drop.subject) as act:
            outbox.fill_step(act, outbox_entry)
            store.discard_replay(drop.id, part.replay_number, outbox_entry)
        store.outbox.mark_published(outbox_entry.key)


def _name_replay(stored_drop: StoredDrop, contract: DataContract) -> str:
    """Return the name of the attempts to read a drop again under one version of its contract."""
    return f"{stored_drop.drop.id}-{contract.digest[:16]}"


def _build_result(
    stored_drop: StoredDrop, part: AdmissionPart, contract: DataContract, processed: ProcessedDrop | None
) -> AdmissionResult:
    drop = stored_drop.drop.model_copy(
        update={
            "replay_number": part.replay_number,
            "known_since": part.known_since,
            "contract": contract.name,
            "contract_version": contract.version,
            "contract_digest": contract.digest,
        }
    )
    rows = processed.rows if processed is not None and part.counts.admitted else None
    return AdmissionResult(drop, part.counts, rows.open_reader() if rows is not None else None)
