"""The stores that a change of a release uses, and the reference by which the ledger names a release."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wellspring.models.releases.store import ReleaseStore
from wellspring.records.lake import Edition
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.stores.locks.port import WriteFence
from wellspring.trust.approvals import LedgerEntries

if TYPE_CHECKING:
    from wellspring.models.tracking.mlflow import LiveVersion


class CheckedRelease(Protocol):
    """A release that was loaded as the API loads it."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns that its requests must have."""
        ...


LoadCheck = Callable[[Release], CheckedRelease]
"""Load everything that a release names; raise unless every digest matches."""


class EditionLookup(Protocol):
    """The part of the lake that promotion needs."""

    def get_edition(self, edition_id: str | None = None) -> Edition | None: ...


class RegistryMirror(Protocol):
    """The part of the model registry that promotion needs (`MlflowRegistry`)."""

    def get_run(self, run: str) -> object: ...

    def reconcile(self, model: str, live: LiveVersion | None, challenger_run: str | None) -> tuple[str, ...]: ...


class ReleaseContext(NamedTuple):
    """The stores that promotion uses. load_check: loads a release as the API does. fence: around each switch."""

    release_store: ReleaseStore
    index: LedgerEntries
    lake: EditionLookup
    registry: RegistryMirror
    load_check: LoadCheck
    fence: WriteFence


def build_release_ref(release: Release) -> Ref:
    """Build the ledger reference of a release."""
    return Ref(name=release.subject, digest=release.digest)
