"""Define the records of ingestion: files of a source, drops, their row accounts, admission and quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from wellspring.records.record import Digest, Frozen, Instant, Record
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa


class FileFinding(Frozen):
    """A problem with one version of a file in its source, for a user to solve. id: 12 hex digits."""

    id: str
    code: str
    message: str


class SourceFile(Frozen):
    """One file listed in a source. state: new; ingested (its drop exists); changed (same name, other bytes: a finding);
    unmatched (an unusable name, or one that matches no contract or several: a finding); still_writing (skipped for
    now); withdrawn (a user took its drop out). name: as it may be shown. seconds_ahead: how far its modification time
    lies in the future."""

    source: str
    name: str
    size: int
    modified: Instant
    state: Literal["new", "ingested", "changed", "unmatched", "still_writing", "withdrawn"]
    drop: str | None = None
    contract: str | None = None
    finding: FileFinding | None = None
    seconds_ahead: int = 0


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
    """Row counts: received = published + quarantined + rejected + discarded + waiting + copies + withdrawn.

    They balance also after a crash.

    copies: rows that came before, in this or an earlier drop, and are not published again. rejected: rows of a drop
    that was rejected as a whole. discarded: quarantined or unpublished rows whose retention ended, and quarantined rows
    that a user discarded. withdrawn: rows of a drop that a user withdrew.
    waiting: rows admitted and staged whose set is not yet published (0 once the set is settled).
    """

    received: int = 0
    published: int = 0
    quarantined: int = 0
    rejected: int = 0
    discarded: int = 0
    waiting: int = 0
    copies: int = 0
    withdrawn: int = 0

    @property
    def balanced(self) -> bool:
        row_counts = (
            self.published, self.quarantined, self.rejected, self.discarded, self.waiting, self.copies,
            self.withdrawn,
        )  # fmt: skip
        return min(row_counts) >= 0 and self.received == sum(row_counts)


class AdmissionCounts(Frozen):
    """The verdict of one admission, its row counts and its reasons; no value of a row.

    verdict: pass, or fail if the drop was rejected as a whole. copies: rows that came before, by the drop that they
    came in (`others`: more drops than are named). masked: the number of values that were masked or are
    undeclared. reasons: of quarantined rows, by (code, column), with counts. rows_digest: digest of the rows that leave
    the enclave; empty before tokenization and for a rejected drop.
    """

    verdict: Verdict
    received: int
    admitted: int
    quarantined: int
    masked: int
    reasons: tuple[Reason, ...]
    rows_digest: Digest
    copies: dict[str, int] = {}

    @property
    def copy_count(self) -> int:
        """Return the number of rows that came before."""
        return sum(self.copies.values())


class AdmissionResult(NamedTuple):
    """The output of the enclave for one drop.

    rows: the contract's columns that leave the enclave plus `row_number` (int64, ascending, position in the file from
    1), in batches that can be read once; None if the drop was rejected as a whole.
    """

    drop: Drop
    counts: AdmissionCounts
    rows: pa.RecordBatchReader | None


class QuarantineCount(Frozen):
    """All quarantined rows of one drop, counted where they are. reasons: code -> number of rows with that reason."""

    drop: str
    rows: int
    reasons: dict[str, int]
    expires_at: Instant


class PersonCounts(Frozen):
    """The persons of whom the vault keeps a sealed row, by token domain.

    unread_drops: whose original is kept and whose persons were not read: `wellspring vault backfill` reads them.
    """

    rows: dict[str, int]
    unread_drops: tuple[str, ...]


class QuarantinedRow(Frozen):
    """A quarantined row as a user outside the enclave may see it: every value is masked."""

    drop: str
    row_number: int
    reasons: tuple[Reason, ...]
    values: dict[str, str]
    expires_at: Instant
