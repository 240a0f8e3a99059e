"""Execute what a user decides about a stored drop: withdraw it, judge it again, or discard its quarantined rows.

The enclave checks the signature of the user itself, with the key that the ledger's enrollment pins, so a worker alone
withdraws nothing. A note decides once: its digest is in the key of the outbox entry.
"""

from __future__ import annotations

from pydantic import JsonValue

from wellspring.enclave import outbox
from wellspring.enclave.admission import Admitter, EnclaveDependencies
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.errors import NotFound, Refused
from wellspring.records.contracts import DataContract
from wellspring.records.trust import Ref
from wellspring.records.user_notes import UserNote
from wellspring.trust import user_notes
from wellspring.trust.vault.records import OutboxEntry, StoredDrop

WITHDRAWN_CODE = "withdrawn"
"""Code of the reason for which a file is not ingested: its bytes are those of a withdrawn drop."""


class DropDecisions:
    """Decides about the drops of one enclave. The caller holds its lock."""

    def __init__(self, dependencies: EnclaveDependencies, contracts: ContractRegistry, admitter: Admitter) -> None:
        self._store = dependencies.store
        self._step = dependencies.step
        self._clock = dependencies.clock
        self._index = dependencies.index
        self._contracts = contracts
        self._admitter = admitter

    def withdraw_drop(self, drop: str, note: UserNote, reason: str) -> None:
        """Take a drop out: its rows are not published, and its original stays as long as its retention says.

        Raises NotFound, and Refused for a drop that was published or withdrawn before.
        """
        stored_drop = self._store.get_drop(drop)
        outbox_entry = self._build_entry("withdraw", stored_drop, note, reason)
        if self._store.decisions.has_entry(outbox_entry.key):
            return
        self._require_unpublished(stored_drop, "withdrawn")
        if stored_drop.withdrawn:
            raise Refused(f"{stored_drop.drop.subject} was withdrawn before", fix=f"see `wellspring drop show {drop}`")
        with self._step("withdraw", stored_drop.drop.subject) as act:
            outbox.fill_step(act, outbox_entry)
            self._store.decisions.withdraw_drop(drop, self._clock.now(), outbox_entry)
            self._step.crash_point("enclave.withdraw:stored")
        self._step.crash_point("enclave.withdraw:recorded")
        self._store.outbox.mark_published(outbox_entry.key)

    def refuse_withdrawn(self, stored_drop: StoredDrop) -> None:
        """Raise Refused for a withdrawn drop, and for a new one whose bytes are those of a withdrawn drop.

        A new one is withdrawn too, so that it is fetched once.
        """
        drop = stored_drop.drop
        if stored_drop.withdrawn:
            raise _withdrawn_error(drop.id, drop.id)
        if stored_drop.rejudgements or (copied := self._store.decisions.find_withdrawn_copy(drop)) is None:
            return
        outbox_entry = OutboxEntry(
            f"withdraw/{drop.id}/{copied}", "withdraw", drop.subject, (), (), {"same_bytes_as": copied}
        )
        with self._step("withdraw", drop.subject) as act:
            outbox.fill_step(act, outbox_entry)
            self._store.decisions.withdraw_drop(drop.id, self._clock.now(), outbox_entry)
        self._store.outbox.mark_published(outbox_entry.key)
        raise _withdrawn_error(drop.id, copied)

    def check_rejudge(self, drop: str, contract_digest: str) -> tuple[StoredDrop, DataContract]:
        """Return a drop that can be judged again, and the contract in force. Raises NotFound, Refused."""
        stored_drop = self._store.get_drop(drop)
        self._require_unpublished(stored_drop, "judged again")
        if stored_drop.wrapped_key is None:
            raise NotFound(
                f"the original of {stored_drop.drop.subject} was removed: its retention ended",
                fix="ask the vendor for the file under a new name",
            )
        contract = self._contracts.accept(contract_digest, source=stored_drop.drop.source, name=stored_drop.drop.name)
        if contract.name != stored_drop.drop.contract:
            raise Refused(
                f"{stored_drop.drop.subject} landed for the contract {stored_drop.drop.contract}, and its file now "
                f"matches {contract.name}",
                fix=f"restore the `files` of {stored_drop.drop.contract}, or ask the vendor for the file under a new "
                "name",
            )
        return stored_drop, contract

    def rejudge_drop(self, drop: str, contract_digest: str, note: UserNote | None, reason: str) -> None:
        """Return a drop to the state before its admission: the next one judges it by the contract in force.

        note: None for a drop whose rows wait, and whose contract was mended since: nobody needs to decide. Its rows are
        known from now on, not from when the drop landed. Raises NotFound, Refused.
        """
        stored_drop = self._store.get_drop(drop)
        if note is None and stored_drop.drop.contract_digest == contract_digest:
            return
        outbox_entry = self._build_entry("rejudge", stored_drop, note, reason)
        if self._store.decisions.has_entry(outbox_entry.key):
            return
        stored_drop, contract = self.check_rejudge(drop, contract_digest)
        if note is None and not self._waits(stored_drop):
            raise Refused(
                f"no row of {stored_drop.drop.subject} waits to be published",
                fix=f"run `wellspring drop rejudge {drop}`, which a user signs",
            )
        contract_ref = Ref(name=f"contract:{contract.name}@{contract.version}", digest=contract.digest)
        outbox_entry = outbox_entry._replace(inputs=(contract_ref,))
        renewed = stored_drop.drop.model_copy(
            update={
                "contract_version": contract.version,
                "contract_digest": contract.digest,
                "known_since": self._clock.now(),
            }
        )
        with self._step("rejudge", stored_drop.drop.subject) as act:
            outbox.fill_step(act, outbox_entry)
            self._store.decisions.reset_drop(renewed, outbox_entry)
            self._admitter.forget_attempts(drop)
            self._step.crash_point("enclave.rejudge:stored")
        self._step.crash_point("enclave.rejudge:recorded")
        self._store.outbox.mark_published(outbox_entry.key)

    def use_contract(self, stored_drop: StoredDrop, contract: DataContract) -> StoredDrop:
        """Let a drop that was not admitted yet be judged by the contract in force, not by the one of its landing."""
        if stored_drop.drop.contract_digest == contract.digest or stored_drop.drop.contract != contract.name:
            return stored_drop
        renewed = stored_drop.drop.model_copy(
            update={"contract_version": contract.version, "contract_digest": contract.digest}
        )
        self._store.decisions.update_contract(renewed)
        return stored_drop._replace(drop=renewed)

    def discard_quarantined(self, drop: str, note: UserNote, reason: str) -> int:
        """Discard the quarantined rows of a drop for ever, and return their number. Raises NotFound, Refused."""
        stored_drop = self._store.get_drop(drop)
        rows = self._store.count_waiting_rows(drop)
        outbox_entry = self._build_entry("discard", stored_drop, note, reason)
        if self._store.decisions.has_entry(outbox_entry.key):
            return 0
        if not rows:
            raise NotFound(
                f"{stored_drop.drop.subject} has no quarantined rows", fix="see `wellspring quarantine list`"
            )
        outbox_entry.facts["discarded"] = rows
        with self._step("discard", stored_drop.drop.subject) as act:
            outbox.fill_step(act, outbox_entry)
            self._store.decisions.discard_quarantined(drop, outbox_entry)
            self._step.crash_point("enclave.discard:stored")
        self._step.crash_point("enclave.discard:recorded")
        self._store.outbox.mark_published(outbox_entry.key)
        return rows

    def _build_entry(self, action: str, stored_drop: StoredDrop, note: UserNote | None, reason: str) -> OutboxEntry:
        """Build the entry of a decision, whose author signed the drop and the reason. Raises Refused."""
        drop = stored_drop.drop
        if note is None:
            facts: dict[str, JsonValue] = {"message": "its contract was mended while its rows waited"}
            return OutboxEntry(f"{action}/{drop.id}/{stored_drop.rejudgements}", action, drop.subject, (), (), facts)
        name = user_notes.require_signature(note, self._index)
        if note.lines[:2] != (drop.id, user_notes.hash_reason(reason)):
            raise Refused(f"{name} signed another {note.kind}", fix="run the command again, and sign what it is now")
        digest = user_notes.compute_note_digest(note)
        facts = {**user_notes.describe_note(note), "signed_at": note.lines[2], "reason": reason}
        return OutboxEntry(f"{action}/{drop.id}/{digest[:32]}", action, drop.subject, (), (), facts)

    def _waits(self, stored_drop: StoredDrop) -> bool:
        """Return whether rows of a drop were admitted and are not published."""
        parts = self._store.list_parts(stored_drop.drop.id)
        return any(part.counts.admitted and not part.settled for part in parts)

    def _require_unpublished(self, stored_drop: StoredDrop, act: str) -> None:
        if self._store.decisions.is_published(stored_drop.drop.id):
            raise Refused(
                f"rows of {stored_drop.drop.subject} were published, so it cannot be {act}",
                fix="published rows stay; ask the vendor for a correction under a new name",
            )


def _withdrawn_error(drop: str, withdrawn: str) -> Refused:
    return Refused.because(
        f"drop:{drop}",
        WITHDRAWN_CODE,
        f"its bytes were withdrawn as drop {withdrawn}; `wellspring drop rejudge {drop}` admits them",
        fix=f"run `wellspring drop rejudge {drop}` to admit it, or ask the vendor for another file",
        outcome="inconclusive",
    )
