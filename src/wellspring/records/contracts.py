"""Define the records of a data contract: its columns, its rules over rows, and what may leave the enclave."""

from __future__ import annotations

from typing import Literal

from wellspring.records.record import Digest, Frozen, Record
from wellspring.records.verdict import Reason

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
    path: where the value stands in a nested file (`address.zip`), if not under the name of the column.
    pattern: in the dialect of the engine that searches columns (`data/contracts/patterns.py`).
    normalization: steps that are applied to each text before it is validated (`data/contracts/normalization.py`).
    timezone: the zone of times that name none; None: UTC, and each run reports how many there were.
    zone_required: a time that names no zone is invalid.
    title, description: the business name of the column, and what it holds, for people; they are read when personal data
    is looked for.
    added_in: the version that added the column, if an earlier one was accepted: a file of an earlier layout lacks it.
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
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    path: str | None = None
    normalization: tuple[str, ...] = ("trim", "nfc")
    timezone: str | None = None
    zone_required: bool = False
    title: str | None = None
    description: str | None = None
    added_in: str | None = None

    @property
    def name_in_file(self) -> str:
        """Return the name of the column, or its path, in the files of the contract."""
        return self.path or self.name


ContractEffect = Literal["compatible", "weakened", "breaking"]
"""What a change of a contract means: rows of both versions are read together; less is protected or checked; rows that
landed would not be what the new version says of them."""
SameKeyRule = Literal["corrects", "refuses"]
"""What a row means that has the key of an earlier drop's row and other values, if no `recorded_at` orders them: a
correction, which is published as a new row; or a contradiction, which waits in quarantine."""
RECORDED_AT = "recorded_at"
"""The column that orders the versions of one key: a timestamp that leaves the enclave."""


class RowRule(Frozen):
    """A check over several columns of one row: a SQL boolean expression that is true or null for a valid row."""

    name: str
    sql: str
    description: str


class DataContract(Record):
    """A data contract for one dataset (ODCS 3.1): columns, checks, sensitivity, owner, freshness.

    digest: SHA-256 of the contract file's bytes. files: glob for the names of its drops.
    key: the columns whose combination identifies a row; two rows of one key are copies, or versions that `recorded_at`
    orders. same_key: what decides where nothing orders them. format: a registered file format.
    format_settings: custom properties of that format (`delimiter`). set: contracts of one source with the same set are
    published together or not at all; None: each drop is published when it is valid.
    max_quarantined_share: above this share of quarantined rows (0 to 1) a drop is stopped.
    person: the token column that names a person; the vault keeps a sealed row of each of its tokens.
    """

    name: str
    version: str
    digest: Digest
    source: str
    files: str
    format: str
    owner: str
    contact: str
    columns: tuple[ContractColumn, ...]
    key: tuple[str, ...] = ()
    rules: tuple[RowRule, ...] = ()
    retention_days: int = 7
    freshness_hours: int | None = None
    format_settings: dict[str, str] = {}
    set: str | None = None
    same_key: SameKeyRule = "refuses"
    max_quarantined_share: float | None = None
    person: str | None = None

    @property
    def ordering_column(self) -> str | None:
        """Return the column that orders the versions of one key, if the contract declares it and it leaves."""
        for column in self.columns:
            if column.name == RECORDED_AT and column.type.startswith("timestamp") and column.egress == "plain":
                return column.name
        return None


class ContractReview(Frozen):
    """What the enclave says of a contract version that is not in force.

    replaced_version: the one in force, '' before the first. changes: in words, each with its effect first. exceptions:
    what the enclave refuses unless a second person permits it.
    """

    name: str
    version: str
    digest: Digest
    replaced_version: str
    effect: ContractEffect
    changes: tuple[str, ...]
    exceptions: tuple[Reason, ...]

    @property
    def needs_second_person(self) -> bool:
        """Return whether a second person must approve it: every version but a first one without exceptions."""
        return bool(self.replaced_version or self.exceptions)
