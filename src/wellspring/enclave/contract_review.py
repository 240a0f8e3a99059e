"""Review a contract version before it is in force: what it changes, and what only a second person may permit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wellspring.data.contracts.contract_diff import compare_contracts, worst_effect
from wellspring.data.contracts.personal_columns import find_personal_columns
from wellspring.data.contracts.protection import weaker_than_others
from wellspring.data.contracts.revealing_checks import find_revealing_checks
from wellspring.errors import Refused
from wellspring.records.contracts import ContractReview, DataContract
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.vault.postgres import VaultStore

NEW_CONTRACT_FIX = "restore it, or write another contract with a name of its own, whose rows get a table of their own"


class ContractReviewer:
    """Compares versions of contracts with those that are in force."""

    def __init__(self, store: VaultStore, scanner: PiiScanner) -> None:
        self._store = store
        self._scanner = scanner

    def review_contract(self, contract: DataContract) -> ContractReview:
        """Describe a version that is not in force. Raises Refused for one that can never be.

        A breaking change is possible as long as no row of the contract is published: nothing landed that it breaks.
        """
        in_force = self._store.list_latest_contracts()
        newest = in_force.get(contract.name)
        changes = () if newest is None else compare_contracts(newest, contract)
        if newest is not None:
            _require_higher_version(newest, contract)
            breaking = [change for change in changes if change.effect == "breaking"]
            if breaking and self._store.decisions.has_published(contract.name):
                raise _refuse_for_reasons(
                    contract,
                    f"{contract.name} {contract.version} would break the rows of {newest.version} that landed:",
                    [
                        Reason(code=change.code, message=change.text, column=change.column or None)
                        for change in breaking
                    ],
                    fix=NEW_CONTRACT_FIX,
                )
        weakened = [
            Reason(code=change.code, message=change.text, column=change.column or None)
            for change in changes
            if change.effect == "weakened"
        ]
        exceptions = [*weakened, *self._list_exceptions(contract, newest, in_force)]
        return ContractReview(
            name=contract.name,
            version=contract.version,
            digest=contract.digest,
            replaced_version="" if newest is None else newest.version,
            effect=worst_effect(changes),
            changes=tuple(f"{change.effect}: {change.text}" for change in changes),
            exceptions=tuple(exceptions),
        )

    def _list_exceptions(
        self, contract: DataContract, newest: DataContract | None, in_force: Mapping[str, DataContract]
    ) -> Iterable[Reason]:
        """List what the enclave refuses unless a second person permits it; not what the version in force has too."""
        already_plain = {column.name for column in newest.columns if column.egress == "plain"} if newest else set[str]()
        for column in find_personal_columns(contract, self._scanner.find_column_kind):
            if column.name not in already_plain:
                yield Reason(code="personal_column", message=f"{column.name} {column.reason}", column=column.name)
        permitted = () if newest is None else weaker_than_others(in_force.values(), newest)
        for description in weaker_than_others(in_force.values(), contract):
            if description not in permitted:
                yield Reason(code="weakened_protection", message=description)
        checks = frozenset[object]() if newest is None else frozenset(find_revealing_checks(newest))
        for check in find_revealing_checks(contract):
            if check not in checks:
                yield Reason(code="revealing_check", message=f"{check.name} {check.reason}")


def refuse_exceptions(contract: DataContract, exceptions: Sequence[Reason]) -> Refused:
    """Build the error for a contract that only a second person may permit."""
    return _refuse_for_reasons(
        contract,
        f"{contract.name} {contract.version} needs a second person:",
        exceptions,
        fix=f"correct the contract (docs/contracts.md), or run `wellspring release propose --kind contract "
        f"{contract.name}`: another user may permit it",
    )


def _require_higher_version(newest: DataContract, contract: DataContract) -> None:
    subject = f"contract:{contract.name}@{contract.version}"
    if newest.version == contract.version:
        raise Refused.because(
            subject,
            "version_unchanged",
            f"{contract.name} changed, but its version is still {contract.version}",
            fix="raise its version: the ledger identifies a contract by name and version",
        )
    if _parse_version(contract.version) < _parse_version(newest.version):
        raise Refused.because(
            subject,
            "version_lower",
            f"{contract.name} {contract.version} is lower than {newest.version}, which is in force",
            fix="raise its version above that one, also to return to an earlier content",
        )


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _refuse_for_reasons(contract: DataContract, what: str, reasons: Sequence[Reason], *, fix: str) -> Refused:
    subject = f"contract:{contract.name}@{contract.version}"
    return Refused(
        "\n".join((what, *(reason.message for reason in reasons))),
        fix=fix,
        verdict=Verdict(subject=subject, outcome="fail", reasons=tuple(reasons)),
    )
