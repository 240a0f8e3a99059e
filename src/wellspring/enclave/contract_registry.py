"""Contracts that the enclave has accepted. The enclave reads the files itself and stores each accepted version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.personal_columns import find_personal_columns
from wellspring.data.contracts.protection import changed_normalizations, weakened_protections, weaker_than_others
from wellspring.data.contracts.revealing_checks import find_revealing_checks
from wellspring.errors import CorruptedError, Refused
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.contracts import DataContract
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry


class ContractRegistry:
    """Accepts contracts of the project. Callers pass a digest, never a contract."""

    def __init__(
        self, project: Project, store: VaultStore, scanner: PiiScanner, *, step: Recorder, clock: Clock
    ) -> None:
        self._project = project
        self._store = store
        self._scanner = scanner
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
        new version, if the contract protects a column less than the last accepted version or than an earlier contract
        of its source or files, gives it other tokens, lets a column leave that holds personal data by its name, or has
        checks that say what a protected column holds.
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
        accepted = self._store.list_latest_contracts()
        newest = accepted.get(contract.name)
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
                raise _refuse_for_columns(
                    subject,
                    "weakened_protection",
                    f"{contract.name} {contract.version} protects less than the previous version:",
                    weakened,
                    fix="restore the classification and the egress rule, or declare the column under a new name; "
                    "weaker protection would need a second approver, and that command does not exist yet",
                )
            if newest is not None and (changed := changed_normalizations(newest, contract)):
                raise Refused.because(
                    subject,
                    "normalization_changed",
                    "\n".join(changed),
                    fix="restore the normalization, or declare the column under a new name with a domain of its own",
                )
            _refuse_looser_than_others(subject, contract, accepted)
            self._refuse_personal_columns(subject, contract, newest)
            _refuse_revealing_checks(subject, contract)
            act.add_facts(**outbox_entry.facts)
            self._store.accept_contract(contract, outbox_entry)
        self._store.outbox.mark_published(outbox_entry.key)

    def _refuse_personal_columns(self, subject: str, contract: DataContract, newest: DataContract | None) -> None:
        """Raise Refused for a column that begins to leave and holds names, addresses or free text by its name."""
        already_plain = {column.name for column in newest.columns if column.egress == "plain"} if newest else set[str]()
        descriptions = [
            f"{column.name} {column.reason}"
            for column in find_personal_columns(contract, self._scanner.find_column_kind)
            if column.name not in already_plain
        ]
        if descriptions:
            raise _refuse_for_columns(
                subject,
                "personal_column",
                f"{contract.name} {contract.version} lets personal data leave the enclave:",
                descriptions,
                fix="set egress token, masked or never, or list its valid values; an exception by a second person does "
                "not exist yet",
            )


def _refuse_looser_than_others(subject: str, contract: DataContract, accepted: Mapping[str, DataContract]) -> None:
    descriptions = weaker_than_others(accepted.values(), contract)
    if descriptions:
        raise _refuse_for_columns(
            subject,
            "weakened_protection",
            f"{contract.name} {contract.version} protects less than an earlier contract of these files:",
            descriptions,
            fix="give these columns the egress rule of the earlier contract; an exception by a second person does not "
            "exist yet",
        )


def _refuse_revealing_checks(subject: str, contract: DataContract) -> None:
    descriptions = [f"{check.name} {check.reason}" for check in find_revealing_checks(contract)]
    if descriptions:
        raise _refuse_for_columns(
            subject,
            "revealing_check",
            f"{contract.name} {contract.version} has checks that say what protected columns hold:",
            descriptions,
            fix="check only the shape of these columns (docs/contracts.md), or remove the check; an exception by a "
            "second person does not exist yet",
        )


def _refuse_for_columns(subject: str, code: str, what: str, descriptions: Sequence[str], *, fix: str) -> Refused:
    reasons = tuple(Reason(code=code, message=description) for description in descriptions)
    return Refused(
        "\n".join((what, *descriptions)), fix=fix, verdict=Verdict(subject=subject, outcome="fail", reasons=reasons)
    )
