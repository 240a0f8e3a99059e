"""Drops whose rows wait, and whose contract was mended since: they are judged by the contract in force."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wellspring.errors import NotFound, Refused
from wellspring.records.contracts import DataContract

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform


def rejudge_mended(platform: Platform, source: str, loaded_contracts: Iterable[DataContract]) -> None:
    """Return each waiting drop of a source that an older contract version admitted to before its admission.

    The run that calls this admits it again. A drop whose original is no longer kept, or whose contract in force the
    enclave refuses, stays as it was admitted.
    """
    digests = {contract.name: contract.digest for contract in loaded_contracts}
    for waiting in platform.drops.list_waiting_admissions(source):
        digest = digests.get(waiting.contract, waiting.contract_digest)
        if digest == waiting.contract_digest:
            continue
        try:
            platform.vault.check_rejudge(waiting.drop, digest)
        except (NotFound, Refused):
            continue
        # The lake first: after a crash the next run stages the same rows again.
        discard_staged(platform, waiting.drop)
        platform.step.crash_point("workflows.mended:discarded")
        platform.vault.rejudge_drop(waiting.drop, digest, None, "")
        platform.step.crash_point("workflows.mended:rejudged")


def discard_staged(platform: Platform, drop: str) -> None:
    """Remove what is staged of a drop from the lake."""
    staged = [part for part in platform.lake.staged_parts() if part.drop == drop]
    if staged:
        platform.lake.discard_parts(*staged, step=platform.step)
