"""Contracts that the enclave has accepted. The enclave reads the files itself and stores each accepted version."""

from __future__ import annotations

from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.protection import changed_normalizations, weakened_protections
from wellspring.errors import CorruptedError, Refused
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.contracts import DataContract
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry


class ContractRegistry:
    """Accepts contracts of the project. Callers pass a digest, never a contract."""

    def __init__(self, project: Project, store: VaultStore, *, step: Recorder, clock: Clock) -> None:
        self._project = project
        self._store = store
        self._step = step
        self._clock = clock

    def read_all(self) -> tuple[DataContract, ...]:
        """Load all contracts of the project. Raises ProjectError."""
        return contracts.load_all(
            self._project.contracts_dir,
            tenant=self._project.tenant,
            known_since=self._clock.now(),
            sources=self._project.sources,
        )

    def accept(self, digest: Digest, *, source: str | None = None, name: str = "") -> DataContract:
        """Find the contract of the project with a digest and accept it. source, name: a file that it must match.

        Raises Refused if the digest is unknown, if the file matches another contract, if the content changed without a
        new version, or if the contract protects a column less than the last accepted version, or gives it other tokens.
        """
        project_contracts = self.read_all()
        matching = [contract for contract in project_contracts if contract.digest == digest]
        if not matching:
            raise Refused(
                f"the project has no contract with the digest {digest[:12]}...",
                fix="the contract file changed after the command started; run the command again",
            )
        if source is not None and contracts.contract_for_file(project_contracts, source, name).digest != digest:
            raise Refused(
                f"{name} does not match the contract {matching[0].name}",
                fix="pass the digest of the contract whose `files` glob it matches",
            )
        self._record_acceptance(matching[0])
        return matching[0]

    def accepted_by_digest(self, digest: Digest) -> DataContract:
        """Return a contract that was accepted earlier, even if the project changed. Raises CorruptedError."""
        contract = self._store.get_contract(digest)
        if contract is None:
            raise CorruptedError(
                f"the contract {digest[:12]}... of a stored drop is missing", fix="restore the enclave's database"
            )
        return contract

    def _record_acceptance(self, contract: DataContract) -> None:
        newest = self._store.get_latest_contract(contract.name)
        if newest is not None and newest.digest == contract.digest:
            return
        weakened = weakened_protections(newest, contract) if newest is not None else ()
        subject = f"contract:{contract.name}@{contract.version}"
        now = format_instant(self._clock.now())
        inputs = (Ref(name=subject, digest=contract.digest),)
        outbox_entry = OutboxEntry(
            f"accept/{contract.digest}/{now}", "accept", subject, inputs, (), {"accepted_at": now}
        )
        with self._step("accept", subject, inputs=inputs) as act:
            if newest is not None and newest.version == contract.version:
                raise Refused.because(
                    subject,
                    "version_unchanged",
                    f"{contract.name} changed, but its version is still {contract.version}",
                    fix="raise its version: the ledger identifies a contract by name and version",
                )
            if weakened:
                raise Refused(
                    f"{contract.name} {contract.version} protects less than the previous version:\n"
                    + "\n".join(weakened),
                    fix="restore the classification and the egress rule, or declare the column under a new name; "
                    "weaker protection would need a second approver, and that command does not exist yet",
                    verdict=Verdict(
                        subject=subject,
                        outcome="fail",
                        reasons=tuple(
                            Reason(code="weakened_protection", message=description) for description in weakened
                        ),
                    ),
                )
            if newest is not None and (changed := changed_normalizations(newest, contract)):
                raise Refused.because(
                    subject,
                    "normalization_changed",
                    "\n".join(changed),
                    fix="restore the normalization, or declare the column under a new name with a domain of its own",
                )
            act.add_facts(**outbox_entry.facts)
            self._store.accept_contract(contract, outbox_entry)
        self._store.mark_published(outbox_entry.key)
