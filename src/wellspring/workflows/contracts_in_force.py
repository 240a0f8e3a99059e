"""The contracts in force: the first version on disk, or the one that was accepted last, whatever is on disk since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.accepted_versions import list_accepted_versions
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.records.contracts import DataContract
from wellspring.records.record import Frozen
from wellspring.trust.changes.activation import propose_command
from wellspring.workflows.prove import contract_archive_dir

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform, ReadPorts


class UnreleasedContract(Frozen):
    """A contract whose file differs from the version in force. command: the next one to type."""

    name: str
    version_in_force: str
    version_on_disk: str
    command: str


def read_contracts_in_force(platform: Platform) -> tuple[DataContract, ...]:
    """Load the contracts in force, and archive each file by digest: a story refers to the contract of its time.

    Raises ProjectError for files that cannot be read.
    """
    project = platform.project
    contracts.archive_contracts(project.contracts_dir, contract_archive_dir(project))
    accepted = list_accepted_versions(platform.ledger.index)
    in_force: list[DataContract] = []
    for contract in _load_files(platform):
        version = accepted.get(contract.name)
        if version is not None and version.digest != contract.digest:
            contract = load_accepted(platform, version.digest)
        in_force.append(contract)
    return tuple(in_force)


def load_accepted(platform: Platform, digest: str) -> DataContract:
    """Load a version that was accepted, from the archive. Raises NotFound, CorruptedError."""
    return contracts.load_archived(
        contract_archive_dir(platform.project),
        digest,
        tenant=platform.project.tenant,
        known_since=platform.clock.now(),
    )


def list_unreleased(ports: Platform | ReadPorts) -> tuple[UnreleasedContract, ...]:
    """List the contracts whose file differs from the version in force. Raises ProjectError."""
    accepted = list_accepted_versions(ports.ledger.index)
    unreleased: list[UnreleasedContract] = []
    for contract in _load_files(ports):
        version = accepted.get(contract.name)
        if version is not None and version.digest != contract.digest:
            unreleased.append(
                UnreleasedContract(
                    name=contract.name,
                    version_in_force=version.version,
                    version_on_disk=contract.version,
                    command=propose_command("contract", contract.name).strip("`"),
                )
            )
    return tuple(unreleased)


def find_contract(loaded_contracts: Iterable[DataContract], name: str) -> DataContract:
    """Return the contract with a name. Raises NotFound with the nearest name."""
    by_name = {contract.name: contract for contract in loaded_contracts}
    if name not in by_name:
        raise NotFound(f"no contract {name!r} in contracts/", fix=suggest_name(name, by_name))
    return by_name[name]


def explain_unreleased(refused: Refused, unreleased: Iterable[UnreleasedContract], name: str) -> Refused:
    """Add to the refusal of rows by the version in force that another version is on disk, if one is."""
    for contract in unreleased:
        if contract.name == name:
            return Refused(
                f"{refused.what}; {name} {contract.version_on_disk} on disk is not in force",
                fix=f"run `{contract.command}`; it is in force when another user has approved it",
                verdict=refused.verdict,
            )
    return refused


def _load_files(ports: Platform | ReadPorts) -> tuple[DataContract, ...]:
    project = ports.project
    return contracts.load_all(
        project.contracts_dir, tenant=project.tenant, known_since=ports.clock.now(), sources=project.source_names
    )
