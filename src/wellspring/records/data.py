"""The words of the data wing: from a file in a vendor's outbox to an edition that readers name."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import PlainSerializer

from wellspring.records.record import Digest, Frozen, Instant, Record
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

EgressRule = Literal["plain", "token", "year", "prefix(3)", "masked", "never"]
"""How a column leaves the enclave: as it is; as a keyed token; a date as its year; a postcode as its first three
digits; free text with everything found in it masked; not at all."""


class ContractColumn(Frozen):
    """One declared column of a contract, compiled from ODCS.

    type: Arrow's name for it: string, int64, float64, bool, date32[day], timestamp[us, tz=UTC], decimal128(12, 2).
    domain: the token domain when it leaves as a token; columns of one domain join, others never do.
    """

    name: str
    type: str
    egress: EgressRule
    classification: str
    domain: str | None = None
    required: bool = False
    unique: bool = False
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    minimum: float | str | None = None
    maximum: float | str | None = None


class RowRule(Frozen):
    """A check over several columns of one row: a SQL boolean expression that is true (or null) for a good row."""

    name: str
    sql: str
    description: str


class DataContract(Record):
    """What a supplier promised for one dataset (ODCS 3.1): columns, checks, sensitivity, owner, freshness.

    digest: SHA-256 of the contract file's bytes. files: the glob that a drop's name matches.
    key: the columns that together are unique within a drop.
    """

    name: str
    version: str
    digest: Digest
    source: str
    files: str
    format: Literal["csv", "parquet"]
    owner: str
    contact: str
    columns: tuple[ContractColumn, ...]
    key: tuple[str, ...] = ()
    rules: tuple[RowRule, ...] = ()
    retention_days: int = 7
    freshness_hours: int | None = None


class SourceFile(Frozen):
    """One file seen in a source. state: new, taken (its drop is known), changed (same name, other bytes: a finding),
    unmatched (fits no contract, or several: a finding), settling (still being written: left alone)."""

    source: str
    name: str
    size: int
    modified: Instant
    state: Literal["new", "ingested", "changed", "unmatched", "still_writing"]
    drop: str | None = None
    contract: str | None = None


class Drop(Record):
    """One file, fetched. id: `<source>-<12 hex of SHA-256(source, name, digest)>`; digest: of the file's bytes."""

    id: str
    source: str
    name: str
    digest: Digest
    size: int
    contract: str
    contract_version: str
    contract_digest: Digest
    replay_number: int = 0
    """0 is the drop as it came; n > 0 is its n-th replay of repaired rows."""

    @property
    def subject(self) -> str:
        return f"drop:{self.id}"


class RowAccount(Frozen):
    """received = published + quarantined + rejected + discarded + waiting, after any crash.

    rejected: rows of a drop that was stopped whole. discarded: quarantined rows whose retention ended.
    waiting: admitted and staged, its set not yet published (0 once the set is settled).
    """

    received: int = 0
    published: int = 0
    quarantined: int = 0
    rejected: int = 0
    discarded: int = 0
    waiting: int = 0

    @property
    def balanced(self) -> bool:
        row_counts = (self.published, self.quarantined, self.rejected, self.discarded, self.waiting)
        return min(row_counts) >= 0 and self.received == sum(row_counts)


class AdmissionResult(NamedTuple):
    """What leaves the enclave for one drop: an Arrow table of tokens, plus counts and digests.

    table: the contract's leaving columns plus `row_number` (int64, the row's place in the file, from 1); None when
    the drop was stopped whole. rows_digest: `data.digest.rows` of that table. reasons: of quarantined rows, by
    (code, column), with counts; never a value. verdict: pass, or fail when the drop was stopped whole.
    """

    drop: Drop
    verdict: Verdict
    received: int
    admitted: int
    quarantined: int
    masked: int
    reasons: tuple[Reason, ...]
    rows_digest: Digest
    table: pa.Table | None


class QuarantinedRow(Frozen):
    """A row that waits inside the enclave, as a person outside may see it: every value masked."""

    drop: str
    row_number: int
    reasons: tuple[Reason, ...]
    values: dict[str, str]
    expires_at: Instant


SnapshotId = Annotated[int, PlainSerializer(str, when_used="json")]
"""63 bits: written as text, for a JSON number holds 53."""


class TableSnapshot(Frozen):
    """One table at one instant: an Iceberg snapshot. rows: in the whole table at that snapshot."""

    table: str
    snapshot_id: SnapshotId
    rows: int


class Edition(Record):
    """What readers name: one snapshot a table, switched together. id: 12 hex of the SHA-256 of its own JSON.

    level: landed (source tables) or built (the same snapshots plus marts). drops: those that this edition added.
    """

    id: str
    level: Literal["landed", "built"]
    parent: str | None
    tables: tuple[TableSnapshot, ...]
    drops: tuple[str, ...]

    @property
    def subject(self) -> str:
        return f"edition:{self.id}"


class FeatureSpec(Frozen):
    """One feature of a view. what: its meaning in words, as a reason will say it; required, for people read it.

    categories: of a string feature that a model may use, in the order of their codes.
    """

    name: str
    type: Literal["int64", "float64", "bool", "string"]
    description: str
    categories: tuple[str, ...] = ()


class FeatureViewSpec(Frozen):
    """Features of one kind of thing, as known at each instant: rows of one built table.

    keys: the table's token columns that say of which thing; the table also holds `known_since` (UTC, microseconds)
    and `sequence` (int64), and of two rows of one thing the newer knowledge (known_since, sequence) wins.
    max_age_seconds: an answer that rests on an older edition is stale; None: never.
    """

    name: str
    entity: str
    keys: tuple[str, ...]
    table: str
    features: tuple[FeatureSpec, ...]
    owner: str
    max_age_seconds: int | None = None

    def find_feature(self, name: str) -> FeatureSpec | None:
        """Return one feature by name."""
        return next((feature for feature in self.features if feature.name == name), None)


class FeatureViews(Frozen):
    """All views of a project, compiled from its Feast definitions. digest: SHA-256 of their canonical JSON."""

    project: str
    views: tuple[FeatureViewSpec, ...]
    digest: Digest

    def find_view(self, name: str) -> FeatureViewSpec | None:
        """Return one view by name."""
        return next((view for view in self.views if view.name == name), None)


class FeatureRow(NamedTuple):
    """One row of a view, offline or online. values: by feature, in the view's order; None where nothing is known.

    edition: the built edition that the row was read from.
    """

    view: str
    key: tuple[str, ...]
    values: dict[str, int | float | bool | str | None]
    known_since: datetime
    sequence: int
    edition: str
