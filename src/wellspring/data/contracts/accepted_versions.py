"""The contract versions in force, as the enclave's entries in the ledger say."""

from __future__ import annotations

from typing import NamedTuple

from wellspring.records.record import Digest
from wellspring.trust.approvals import LedgerEntries

_ACCEPTING_SERVICE = "enclave"
"""The only service whose entries count; no other service can write its journal."""


class AcceptedVersion(NamedTuple):
    """The version of a contract that is in force."""

    name: str
    version: str
    digest: Digest


def list_accepted_versions(index: LedgerEntries) -> dict[str, AcceptedVersion]:
    """Return the version in force of each contract by name: the one that the enclave accepted last."""
    accepted: dict[str, AcceptedVersion] = {}
    for indexed in index.list_entries(action="accept", phase="done"):
        entry = indexed.entry
        digest = next((ref.digest for ref in entry.inputs if ref.name == entry.subject), None)
        if entry.service != _ACCEPTING_SERVICE or digest is None:
            continue
        name, _, version = entry.subject.removeprefix("contract:").partition("@")
        accepted[name] = AcceptedVersion(name, version, digest)
    return accepted
