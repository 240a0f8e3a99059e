"""The contracts in force. The enclave reads them itself, and checks the signatures of each version that is released.

The first version of a contract is in force with its first drop, unless it lets through what only a second person may
permit. Every later version, and such a first one, is in force by a release that two users signed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.contract_diff import mark_added_columns
from wellspring.enclave.contract_review import ContractReviewer, refuse_exceptions
from wellspring.errors import CorruptedError, Refused
from wellspring.project import Project
from wellspring.records.changes import ChangeRelease
from wellspring.records.clock import Clock
from wellspring.records.contracts import ContractReview, DataContract
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.trust.approvals import LedgerEntries
from wellspring.trust.changes.activation import propose_command, require_signatures
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry


class ContractRegistry:
    """The contracts in force of one project. Callers pass a digest, or the id of a release.

    index: of the log, with the signatures of users.
    """

    def __init__(
        self,
        project: Project,
        store: VaultStore,
        scanner: PiiScanner,
        *,
        step: Recorder,
        clock: Clock,
        index: LedgerEntries,
    ) -> None:
        self._project = project
        self._store = store
        self._reviewer = ContractReviewer(store, scanner)
        self._step = step
        self._clock = clock
        self._index = index
        self._changes = ChangeStore(project.changes_dir)

    def read_all(self) -> tuple[DataContract, ...]:
        """Return the contracts in force, by the names that the project has: the accepted one, or the first on disk.

        Raises ProjectError for files that cannot be read.
        """
        return read_in_force(self._project, self._store, self._clock)

    def accept(self, digest: Digest, *, source: str | None = None, name: str = "") -> DataContract:
        """Find the contract in force with a digest, and accept it if it is a first one. source, name: of a file.

        Raises Refused if no contract in force has the digest, if the file matches another contract, or for a first
        contract that only a second person may permit.
        """
        in_force = self.read_all()
        matching = [contract for contract in in_force if contract.digest == digest]
        if not matching:
            raise Refused(
                f"no contract in force has the digest {digest[:12]}...",
                fix="run the command again; `wellspring status` names contracts that are not released",
            )
        if source is not None and contracts.contract_for_file(in_force, source, name).digest != digest:
            raise Refused(
                f"{name} does not match the contract {matching[0].name}",
                fix="pass the digest of the contract whose `files` glob it matches",
            )
        if matching[0].name not in self._store.list_latest_contracts():
            self._record_acceptance(matching[0], None)
        return matching[0]

    def accepted_by_digest(self, digest: Digest) -> DataContract:
        """Return a contract that was accepted earlier, even if the project changed. Raises CorruptedError."""
        contract = self._store.get_contract(digest)
        if contract is None:
            raise CorruptedError(
                f"the contract {digest[:12]}... of a stored drop is missing", fix="restore the enclave's database"
            )
        return contract

    def review_contract(self, digest: Digest) -> ContractReview:
        """Describe what a kept version changes that is not in force.

        Raises Refused, and records it, if it never can be; NotFound, and ProjectError for errors in it.
        """
        contract = self._load_kept(digest)
        try:
            return self._reviewer.review_contract(contract)
        except Refused:
            with self._step("accept", _name(contract), inputs=(_ref(contract),)):
                raise

    def accept_change(self, change_id: str) -> DataContract:
        """Put a released version into force.

        The signatures are checked with the keys that the ledger's enrollments pin: the word of the caller that somebody
        approved it counts for nothing. Raises Refused, NotFound, CorruptedError.
        """
        change = self._changes.get(change_id)
        contract = self._load_kept(change.content)
        if (change.kind, change.name) != ("contract", contract.name):
            raise Refused.because(
                change.subject,
                "other_content",
                f"{change.subject} changes {change.signed_name}, and its content is the contract {contract.name}",
                fix=f"propose it again: {propose_command('contract', contract.name)}",
            )
        newest = self._store.list_latest_contracts().get(contract.name)
        if newest is None or newest.digest != contract.digest:
            self._record_acceptance(contract, change)
        return self.accepted_by_digest(contract.digest)

    def _load_kept(self, digest: Digest) -> DataContract:
        content = self._changes.objects.get(digest)
        return contracts.decode_contract(content, tenant=self._project.tenant, known_since=self._clock.now())

    def _record_acceptance(self, contract: DataContract, change: ChangeRelease | None) -> None:
        now = format_instant(self._clock.now())
        inputs = (_ref(contract),)
        facts: dict[str, JsonValue] = {"accepted_at": now}
        subject = _name(contract)
        with self._step("accept", subject, inputs=inputs) as act:
            review = self._reviewer.review_contract(contract)
            if change is None:
                if review.exceptions:
                    raise refuse_exceptions(contract, review.exceptions)
            else:
                facts |= self._check_signatures(change, review)
            outbox_entry = OutboxEntry(f"accept/{contract.digest}/{now}", "accept", subject, inputs, (), facts)
            newest = self._store.list_latest_contracts().get(contract.name)
            act.add_facts(**outbox_entry.facts)
            self._store.accept_contract(mark_added_columns(newest, contract), outbox_entry)
            self._step.crash_point("enclave.accept:stored")
        self._step.crash_point("enclave.accept:recorded")
        self._store.outbox.mark_published(outbox_entry.key)

    def _check_signatures(self, change: ChangeRelease, review: ContractReview) -> Mapping[str, JsonValue]:
        """Return what the entry says of a release whose users signed it. Raises Refused unless enough of them did."""
        facts: dict[str, JsonValue] = {"release": change.id, "effect": review.effect}
        approval = require_signatures(change, self._index)
        if approval is None and review.needs_second_person:
            # What the record of a release says of itself counts for nothing.
            raise Refused.because(
                change.subject,
                "not_approved",
                f"{change.subject} is not approved by a second person",
                fix=f"run `wellspring release approve {change.id}` as another user",
            )
        return facts if approval is None else {**facts, "approved_by": approval.approver}


def read_in_force(project: Project, store: VaultStore, clock: Clock) -> tuple[DataContract, ...]:
    """Return the contracts in force of a project, by the names of its files. Raises ProjectError."""
    on_disk = contracts.load_all(
        project.contracts_dir, tenant=project.tenant, known_since=clock.now(), sources=project.sources
    )
    accepted = store.list_latest_contracts()
    return tuple(accepted.get(contract.name, contract) for contract in on_disk)


def _name(contract: DataContract) -> str:
    return f"contract:{contract.name}@{contract.version}"


def _ref(contract: DataContract) -> Ref:
    return Ref(name=_name(contract), digest=contract.digest)
