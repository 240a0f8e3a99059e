"""Define the online store: the latest row of each entity, written in bulk, read within milliseconds.

Of two rows of one entity in one version of a view the one with the greater (known_since, sequence) stays, whatever the
order of writing; on a tie the one of the edition published later. Rows of two versions of a view are stored apart, so
the definition of a stored row never changes. Keys are tokens. tests/ports/test_online.py states the behavior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wellspring.errors import Refused
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.lake import Edition
from wellspring.records.record import Digest

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.project import Project


ROW_KEY_SECRET = "online_rows"  # noqa: S105 (the name of a secret)
"""Name under which OpenBao keeps the row key for each service that writes or reads rows (`worker/`, `api/`)."""


class WriteResult(NamedTuple):
    """The result of a bulk write. superseded_rows: rows not written because the store already has newer ones."""

    rows: int
    superseded_rows: int


class LiveMarker(NamedTuple):
    """The edition that was last materialized completely with one set of views: views, its digest.

    as_of: the knowledge cutoff of the edition.
    """

    edition: str
    as_of: datetime
    views: Digest


class OnlineWriter(Protocol):
    """Write and read the rows of one project. Each method raises Unavailable while the store does not respond."""

    def write_rows(
        self, view: FeatureViewSpec, rows: pa.Table, edition: Edition, *, warm: Sequence[FeatureViewSpec] = ()
    ) -> WriteResult:
        """Write rows of a view, except those for which the store has newer ones.

        rows: the view's keys, features, known_since and sequence. warm: other versions of the view whose rows stay; a
        written row removes those of all other versions. A repeated write changes nothing. Raises Refused for a key that
        is not a token, before any write.
        """
        ...

    def read_row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return the row of one entity, or None. Raises Refused for a key that is not a token."""
        ...

    def read_rows(self, view: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        """Return the rows of many entities, in the order of `keys`; None for a missing or incomplete row.

        Raises CorruptedError for a row that no materialization wrote for its key.
        """
        ...

    def set_live(self, edition: Edition, *, as_of: datetime, views: Digest, newest: bool = True) -> bool:
        """Set the live edition of a set of views; return False and change nothing if a later edition is live.

        newest: whether it is also the edition that queries read which name no release.
        """
        ...

    def get_live(self, views: Digest | None = None) -> LiveMarker | None:
        """Return the marker of the live edition of a set of views, or without one the newest; None before the first."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class OnlineReader(Protocol):
    """Read rows asynchronously, for many callers of one event loop. No call is retried, and each has a deadline."""

    async def get_rows(self, keys: Sequence[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
        """Return the rows of (view, key) pairs in one round trip; None for a missing row.

        Raises NotFound for an unknown view, Refused for a key that is not a token, Unavailable after the deadline,
        CorruptedError for a row that no materialization wrote for its key.
        """
        ...

    async def get_with_marker(
        self, keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> tuple[LiveMarker | None, list[FeatureRow | None]]:
        """Return the marker of the live edition of the reader's views and the rows, in one round trip."""
        ...

    async def get_live(self) -> LiveMarker | None:
        """Return the newest marker, whatever its views, or None before the first."""
        ...

    async def close(self) -> None:
        """Close the connection; pending calls raise Unavailable."""
        ...


class RowCheck(NamedTuple):
    """The result of a check of all rows. rows: number of rows checked; refused: of those that a reader refuses.

    is_marker_refused: whether it refuses a marker of a live edition.
    """

    rows: int
    refused: int
    is_marker_refused: bool


class RowChecker(Protocol):
    """Check every row that an online store has of one project."""

    def check_rows(self, views: Sequence[FeatureViews]) -> RowCheck:
        """Check each row with the definition that it names. views: all that were ever used. Raises Unavailable."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class StoreLogin(NamedTuple):
    """User and password of one service in an online store.

    row_key: the secret of the keyed hash of each row and of the marker, the same for all services of a project.
    """

    user: str
    password: str
    row_key: bytes = b""


@dataclass(frozen=True)
class OnlineStoreAdapter:
    """One kind of online store, registered as an entry point of the group `wellspring.online_stores`.

    secret: name under which OpenBao keeps the login of each service (`worker/SECRET`, `api/SECRET`); None: it needs no
    login, and gets one with the row key only.
    packages: top-level modules that it imports. embedded_server: the server that `wellspring up` starts for it, if any.
    open_checker: opens what `wellspring doctor` checks all rows with; None: it cannot.
    """

    open_writer: Callable[[Project, StoreLogin], OnlineWriter]
    open_reader: Callable[[Project, FeatureViews, StoreLogin], OnlineReader]
    secret: str | None = None
    packages: tuple[str, ...] = ()
    embedded_server: str | None = None
    open_checker: Callable[[Project, StoreLogin], RowChecker] | None = None


def online_namespace(project: str, tenant: str = "") -> str:
    """Return the namespace of the online keys of a tenant, the same for all rows of one writer or reader.

    tenant: empty for the project's own tenant, whose keys have the project's name only, as Feast writes them.
    """
    # Neither a project's name nor a tenant contains a colon.
    return f"{project}:{tenant}" if tenant else project


def token_required(view: FeatureViewSpec) -> Refused:
    """Build the error for a key that is not a token; it never repeats the key."""
    keys = ", ".join(view.keys)
    return Refused(f"the key of {view.name} ({keys}) is not a token", fix="get a token from the enclave as the key")
