"""Read drops that were admitted before their contract named a person, for the person rows that the vault lacks.

One drop is one transaction with its ledger entry, so a backfill that was interrupted goes on with the next drop.
"""

from __future__ import annotations

from wellspring.enclave import outbox
from wellspring.enclave.admission import Admitter, EnclaveDependencies
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.errors import NotFound
from wellspring.records.contracts import DataContract
from wellspring.records.record import format_instant
from wellspring.trust.vault.port import ProgressCallback
from wellspring.trust.vault.records import OutboxEntry, StoredDrop


class PersonBackfill:
    """Adds the person rows of earlier drops. The caller holds the lock of the enclave."""

    def __init__(self, dependencies: EnclaveDependencies, contracts: ContractRegistry, admitter: Admitter) -> None:
        self._store = dependencies.store
        self._step = dependencies.step
        self._clock = dependencies.clock
        self._contracts = contracts
        self._admitter = admitter

    def list_drops(self) -> tuple[str, ...]:
        """List the drops whose original is kept and whose persons were not read by the contract in force."""
        return self._store.people.list_unread_drops(self._list_columns())

    def read_drop(self, drop: str, report_progress: ProgressCallback) -> int:
        """Store the persons of a drop that have no row, and return their number. Raises NotFound.

        A drop that was read before gives 0, without an entry.
        """
        stored_drop = self._store.get_drop(drop)
        if drop not in self.list_drops():
            if stored_drop.wrapped_key is None:
                raise NotFound(
                    f"the original of {stored_drop.drop.subject} was removed: its retention ended",
                    fix="ask the vendor for the file under a new name",
                )
            return 0
        column = self._list_columns()[stored_drop.drop.contract]
        subject = stored_drop.drop.subject
        with self._step("backfill", subject) as act:
            people = self._admitter.read_people(stored_drop, self._find_contract(stored_drop, column), report_progress)
            count = people.count if people is not None else 0
            outbox_entry = OutboxEntry(
                f"backfill/{drop}/{format_instant(self._clock.now())}",
                "backfill",
                subject,
                (),
                (),
                {"person": column, "persons": count},
            )
            outbox.fill_step(act, outbox_entry)
            rows = people.build_rows(drop) if people is not None else None
            self._store.people.save_backfill(drop, column, rows, outbox_entry)
            self._step.crash_point("enclave.backfill:stored")
        self._step.crash_point("enclave.backfill:recorded")
        self._store.outbox.mark_published(outbox_entry.key)
        return count

    def _list_columns(self) -> dict[str, str]:
        latest = self._store.list_latest_contracts()
        return {name: contract.person for name, contract in latest.items() if contract.person is not None}

    def _find_contract(self, stored_drop: StoredDrop, column: str) -> DataContract:
        """Return the contract of the newest admission, with the person column of today if it is a token there too."""
        part = self._store.list_parts(stored_drop.drop.id)[-1]
        contract = self._contracts.accepted_by_digest(part.contract_digest)
        is_token = any(item.name == column and item.egress == "token" for item in contract.columns)
        return contract.model_copy(update={"person": column if is_token else None})
