"""The project's contracts as the enclave accepts them: it reads the files itself, and remembers what it accepted."""

from __future__ import annotations

from wellspring.data.contracts import contract as contracts
from wellspring.errors import CorruptedError, Refused
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.data import DataContract
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry


class ContractRegistry:
    """What suppliers promised. The caller names a contract by its digest; only what stands in the project counts."""

    def __init__(self, project: Project, store: VaultStore, *, step: Recorder, clock: Clock) -> None:
        self._project = project
        self._store = store
        self._step = step
        self._clock = clock

    def read_all(self) -> tuple[DataContract, ...]:
        """Read all contracts now. Raises ProjectError."""
        return contracts.load_all(
            self._project.contracts_dir,
            tenant=self._project.tenant,
            known_since=self._clock.now(),
            sources=self._project.sources,
        )

    def accept(self, digest: Digest, *, source: str | None = None, name: str = "") -> DataContract:
        """Find the project's contract with this digest and accept it. source, name: the file that it must match.

        Raises Refused: there is none, the file is another contract's, it was changed and not its version, or it
        protects a column less than the version that was accepted last: that takes a second person.
        """
        project_contracts = self.read_all()
        matching = [one for one in project_contracts if one.digest == digest]
        if not matching:
            raise Refused(
                f"the project has no contract with the digest {digest[:12]}...",
                fix="the file was changed meanwhile: run the command again",
            )
        if source is not None and contracts.contract_for_file(project_contracts, source, name).digest != digest:
            raise Refused(
                f"{name} does not come under {matching[0].name}", fix="name the contract whose `files` it matches"
            )
        self._record_acceptance(matching[0])
        return matching[0]

    def accepted_by_digest(self, digest: Digest) -> DataContract:
        """Return a contract that was accepted once, whatever stands in the project today. Raises Broken."""
        contract = self._store.get_contract(digest)
        if contract is None:
            raise CorruptedError(
                f"the contract {digest[:12]}... of a kept drop is not known", fix="restore the enclave's database"
            )
        return contract

    def _record_acceptance(self, contract: DataContract) -> None:
        newest = self._store.get_latest_contract(contract.name)
        if newest is not None and newest.digest == contract.digest:
            return
        weakened = contracts.weakened_protections(newest, contract) if newest is not None else ()
        subject = f"contract:{contract.name}@{contract.version}"
        now = format_instant(self._clock.now())
        inputs = (Ref(name=subject, digest=contract.digest),)
        outbox_entry = OutboxEntry(
            f"accept/{contract.digest}/{now}", "accept", subject, inputs, (), {"accepted_at": now}
        )
        with self._step("accept", subject, inputs=inputs) as act:
            if newest is not None and newest.version == contract.version:
                message = f"{contract.name} was changed, and is still called {contract.version}"
                raise Refused(
                    message,
                    fix="raise its version: a story names the contract of its own day by name and version",
                    verdict=Verdict(
                        subject=subject, outcome="fail", reasons=(Reason(code="version_unchanged", message=message),)
                    ),
                )
            if weakened:
                raise Refused(
                    f"{contract.name} {contract.version} protects less than the version before:\n"
                    + "\n".join(weakened),
                    fix="put the classification back, or bring the column in under a new name: loosening one takes a "
                    "second person, whom no command asks yet",
                    verdict=Verdict(
                        subject=subject,
                        outcome="fail",
                        reasons=tuple(
                            Reason(code="weakened_protection", message=description) for description in weakened
                        ),
                    ),
                )
            act.add_facts(**outbox_entry.facts)
            self._store.accept_contract(contract, outbox_entry)
        self._store.mark_published(outbox_entry.key)
