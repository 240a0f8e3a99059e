"""Define the records of the data packages: files, contracts, drops, editions, features and their rows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import PlainSerializer

from wellspring.records.record import Digest, Frozen, Instant, Record
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

EgressRule = Literal[
    "plain", "token", "year", "masked", "never",
    "prefix(1)", "prefix(2)", "prefix(3)", "prefix(4)", "prefix(5)",
    "prefix(6)", "prefix(7)", "prefix(8)", "prefix(9)", "prefix(10)",
]  # fmt: skip
"""How a column leaves the enclave: unchanged; as a keyed token; a date as its year; text with the personal data in it
masked; not at all; as the first 1 to 10 characters of each value."""


class ContractColumn(Frozen):
    """One column of a contract, compiled from ODCS.

    type: an Arrow type: string, int64, float64, bool, date32[day], timestamp[us, tz=UTC], decimal128(12, 2).
    domain: the token domain of a `token` column; only columns of the same domain can be joined.
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
    """A check over several columns of one row: a SQL boolean expression that is true or null for a valid row."""

    name: str
    sql: str
    description: str


class DataContract(Record):
    """A data contract for one dataset (ODCS 3.1): columns, checks, sensitivity, owner, freshness.

    digest: SHA-256 of the contract file's bytes. files: glob for the names of its drops.
    key: the columns whose combination is unique within a drop.
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
    """One file listed in a source. state: new; ingested (its drop exists); changed (same name, other bytes: a finding);
    unmatched (matches no contract or several: a finding); still_writing (skipped for now)."""

    source: str
    name: str
    size: int
    modified: Instant
    state: Literal["new", "ingested", "changed", "unmatched", "still_writing"]
    drop: str | None = None
    contract: str | None = None


class Drop(Record):
    """One fetched file. id: `<source>-<12 hex of SHA-256(source, name, digest)>`; digest: of the file's bytes."""

    id: str
    source: str
    name: str
    digest: Digest
    size: int
    contract: str
    contract_version: str
    contract_digest: Digest
    replay_number: int = 0
    """0: the drop as fetched; n > 0: its n-th replay of repaired rows."""

    @property
    def subject(self) -> str:
        return f"drop:{self.id}"


class RowAccount(Frozen):
    """Row counts: received = published + quarantined + rejected + discarded + waiting, also after a crash.

    rejected: rows of a drop that was rejected as a whole. discarded: quarantined rows whose retention ended.
    waiting: rows admitted and staged whose set is not yet published (0 once the set is settled).
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
    """The output of the enclave for one drop: an Arrow table of tokens, counts and digests.

    table: the contract's columns that leave the enclave plus `row_number` (int64, position in the file, from 1); None
    if the drop was rejected as a whole. rows_digest: digest of the rows of `table`. reasons: of quarantined rows, by
    (code, column), with counts; never a value. verdict: pass, or fail if the drop was rejected as a whole.
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
    """A quarantined row as a user outside the enclave may see it: every value is masked."""

    drop: str
    row_number: int
    reasons: tuple[Reason, ...]
    values: dict[str, str]
    expires_at: Instant


SnapshotId = Annotated[int, PlainSerializer(str, when_used="json")]
"""A 63-bit integer, written to JSON as text because a JSON number holds 53 bits."""


class TableSnapshot(Frozen):
    """One Iceberg snapshot of a table. rows: row count of the whole table at that snapshot."""

    table: str
    snapshot_id: SnapshotId
    rows: int


class Edition(Record):
    """A consistent set of snapshots, one per table. id: 12 hex of the SHA-256 of its own JSON.

    level: landed (source tables) or built (the same snapshots plus marts). drops: ids that this edition added.
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
    """One feature of a view. description: its meaning in words, which the reasons of a prediction quote.

    categories: values of a string feature that a model uses, in the order of their codes.
    """

    name: str
    type: Literal["int64", "float64", "bool", "string"]
    description: str
    categories: tuple[str, ...] = ()


class FeatureViewSpec(Frozen):
    """Features of one entity over time: rows of one built table.

    keys: the token columns that identify the entity. The table also has `known_since` (UTC, microseconds) and
    `sequence` (int64): of two rows of one entity, the one with the greater (known_since, sequence) wins.
    max_age_seconds: a prediction from an older edition is stale; None: never.
    """

    name: str
    entity: str
    keys: tuple[str, ...]
    table: str
    features: tuple[FeatureSpec, ...]
    owner: str
    max_age_seconds: int | None = None

    def find_feature(self, name: str) -> FeatureSpec | None:
        """Return the feature with this name, or None."""
        return next((feature for feature in self.features if feature.name == name), None)


class FeatureViews(Frozen):
    """All feature views of a project, compiled from its Feast definitions. digest: SHA-256 of the canonical JSON."""

    project: str
    views: tuple[FeatureViewSpec, ...]
    digest: Digest

    def find_view(self, name: str) -> FeatureViewSpec | None:
        """Return the view with this name, or None."""
        return next((view for view in self.views if view.name == name), None)


class FeatureRow(NamedTuple):
    """One row of a feature view, offline or online. values: by feature, in the view's order; None if unknown.

    edition: the built edition from which the row was read.
    """

    view: str
    key: tuple[str, ...]
    values: dict[str, int | float | bool | str | None]
    known_since: datetime
    sequence: int
    edition: str
