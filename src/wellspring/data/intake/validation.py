"""Validate the rows of a drop, batch by batch: valid rows are tokenized, the others wait with reasons. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.contracts import casting
from wellspring.data.contracts.casting import CastColumn
from wellspring.data.contracts.columns import prefix_length
from wellspring.data.contracts.contract import egress_schema
from wellspring.data.formats.parsed import ROW_NUMBER, UNIQUE_FAULT, ParsedBatch, default_subject, file_refused
from wellspring.data.formats.registry import load_format
from wellspring.data.intake.duplicates import RepeatedRows
from wellspring.data.intake.near_equal import NearEqualFinder
from wellspring.data.intake.row_numbers import mark_selected
from wellspring.data.intake.typed_rows import type_batch
from wellspring.data.intake.undeclared import UndeclaredColumns
from wellspring.data.quality import row_rules
from wellspring.records.contracts import ContractColumn, DataContract
from wellspring.records.verdict import Reason
from wellspring.trust.dlp.scanner import PiiScanner

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from wellspring.trust.tokenization import Tokenizer

CONTRADICTION = "contradicts"
"""Code of a row with the key of an earlier drop's row and other values, which nothing orders."""
_MESSAGES = {
    UNIQUE_FAULT: "another row of the drop has the same key and other values, and nothing orders them",
    CONTRADICTION: "a row of an earlier drop has the same key and other values, and nothing orders them",
    "required": "a required value is missing",
    "type": "the value does not have the declared type",
    "local_time": "the local time does not exist, or occurs twice, in the time zone of the contract",
    "time_zone": "the time names no zone, and the contract says `timezone: true`",
    "enum": "the value is not one of the valid values",
    "range": "the value is below the minimum or above the maximum",
    "pattern": "the value does not match the declared pattern, or is not a ZIP code",
    "personal_data": "the value contains personal data, and the column has egress plain or prefix",
}
_NO_TIME_ZONE = "the times name no zone and were read as UTC; declare `defaultTimezone` in the contract"
_POSTCODE_COLUMN = r"zip|postal|post_?code"
_ZIP_CODE = r"^[0-9]{5}(-?[0-9]{4})?$"
_MAX_MISMATCH_SHARE = 0.5
_MIN_VALUES = 10
"""The type of a column counts as changed if more than half of at least ten values do not have it."""


class ValidatedBatch(NamedTuple):
    """One batch of rows, validated. The tables contain personal data and never leave the enclave.

    valid: the declared columns, typed, and row_number. invalid: a Boolean for each row of the batch that waits in
    quarantine. reasons: one row per reason of each invalid row: row_number, code, column (the name of the rule for code
    `rule`).
    """

    valid: pa.Table
    invalid: pl.Series
    reasons: pa.Table


class DropValidator:
    """Validates the rows of one drop, batch by batch. It keeps counts, never rows.

    repeated: the rows of the file that have a key in common. whole_file: False for the rows of a replay, which do not
    show whether a column changed its type.
    """

    def __init__(
        self,
        contract: DataContract,
        scanner: PiiScanner,
        *,
        subject: str | None = None,
        repeated: RepeatedRows | None = None,
        whole_file: bool = True,
    ) -> None:
        self.contract = contract
        self.subject = subject or default_subject(contract)
        self._scanner = scanner
        self._repeated = repeated
        self._whole_file = whole_file
        self._messages = _collect_messages(contract)
        self._filled: Counter[str] = Counter()
        self._mismatched: Counter[str] = Counter()
        self._zoneless: Counter[str] = Counter()
        self._reasons: dict[tuple[str, str | None], int] = {}
        self._undeclared = UndeclaredColumns(contract, scanner)
        self._near_equal = NearEqualFinder()
        self._findings: dict[str, Reason] = {}
        self._personal: Counter[tuple[str, str]] = Counter()
        self.received = self.quarantined = self.copies = self.masked = 0

    def validate_batch(self, batch: ParsedBatch) -> ValidatedBatch:
        """Validate every row of a batch and collect all reasons of each invalid row."""
        typed = type_batch(batch, self.contract)
        table = typed.to_arrow()
        usable = typed.usable
        violations = [
            (fault, None, typed.row_faults.eq(fault).fill_null(False))
            for fault in typed.row_faults.drop_nulls().unique().sort().to_list()
        ]
        for column in self.contract.columns:
            cast = typed.casts[column.name]
            self._count_types(column.name, cast, usable)
            violations += [(code, column.name, mask & usable) for code, mask in self._check_column(column, cast)]
        violations += [(code, name, mask & usable) for code, name, mask in self._check_rules(table)]
        violations += self._check_repeated(typed.row_numbers)
        invalid = ~usable
        for _, _, mask in violations:
            invalid = invalid | mask
        # A copy of a row of this file is neither valid nor quarantined: it was counted with the first one.
        copies = self._mark_copies(typed.row_numbers)
        invalid = invalid & ~copies
        violations = [(code, column, mask & ~copies) for code, column, mask in violations if (mask & ~copies).any()]
        for code, column, mask in violations:
            self._reasons[code, column] = self._reasons.get((code, column), 0) + int(mask.sum())
        self._undeclared.add_batch(batch)
        self._note_layout(batch)
        self._findings.update({finding.code: finding for finding in batch.findings})
        self.received += batch.row_count
        self.quarantined += int(invalid.sum())
        self.copies += int(copies.sum())
        valid = table.filter((~(invalid | copies)).to_arrow())
        return ValidatedBatch(valid, invalid, _reason_table(typed.row_numbers, violations))

    def add_reason(self, code: str, column: str | None, rows: int) -> None:
        """Count valid rows that wait for another reason: they contradict a row of an earlier drop."""
        self._reasons[code, column] = self._reasons.get((code, column), 0) + rows
        self.quarantined += rows

    def summarize(self) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
        """Return the reasons of the quarantined rows, and the findings about the whole file.

        Raises Refused with its Verdict if most values of a column do not have the declared type, or if more rows are
        quarantined than the contract allows.
        """
        reasons = tuple(
            _build_reason(code, column, count, self._messages)
            for (code, column), count in sorted(self._reasons.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        )
        if self._whole_file:
            self._check_types()
            self._check_share(reasons)
        zoneless = (
            Reason(code="no_time_zone", message=_NO_TIME_ZONE, column=name, count=count)
            for name, count in self._zoneless.items()
        )
        personal = (
            Reason(code=f"personal_data.{kind}", message=f"{kind} was found", column=name, count=count)
            for (name, kind), count in sorted(self._personal.items())
        )
        findings = (
            *self._findings.values(),
            *self._undeclared.describe_columns(),
            *personal,
            *self._near_equal.describe_findings(),
            *zoneless,
        )
        return reasons, findings

    @property
    def masked_undeclared(self) -> int:
        """Return the number of values in undeclared columns, none of which leaves the enclave."""
        return self._undeclared.value_count

    def count_personal(self, column: str, counts: Mapping[str, int]) -> None:
        """Count the rows of a column in which personal data was found, by kind."""
        for kind, rows in counts.items():
            self._personal[column, kind] += rows

    def build_reason(self, code: str, column: str | None, count: int = 1) -> Reason:
        """Build a reason with the message of its code."""
        return _build_reason(code, column, count, self._messages)

    def reasons_by_row(self, table: pa.Table) -> dict[int, tuple[Reason, ...]]:
        """Return the reasons of each quarantined row of a batch, by row number. table: `ValidatedBatch.reasons`."""
        by_row: dict[int, list[Reason]] = {}
        columns = (table[name].to_pylist() for name in (ROW_NUMBER, "code", "column"))
        for number, code, column in zip(*columns, strict=True):
            by_row.setdefault(number, []).append(_build_reason(code, column, 1, self._messages))
        return {number: tuple(reasons) for number, reasons in by_row.items()}

    def mask_column(self, values: pa.ChunkedArray, column: str) -> pa.Array:
        """Mask the personal data in a text column, and count it."""
        masked = self._scanner.mask_column(values, column_name=column)
        self.masked += masked.rows
        self.count_personal(column, masked.counts)
        return masked.texts.to_arrow()

    def _note_layout(self, batch: ParsedBatch) -> None:
        missing = sum(column.name not in batch.column_names for column in self.contract.columns)
        if missing:
            message = f"the file has an earlier layout, without {missing} columns that the contract gained since"
            self._findings["earlier_layout"] = Reason(code="earlier_layout", message=message, count=missing)

    def _count_types(self, name: str, cast: CastColumn, usable: pl.Series) -> None:
        invalid = cast.invalid
        self._mismatched[name] += int((invalid & usable).sum())
        self._filled[name] += int(((cast.values.is_not_null() | invalid) & usable).sum())
        if cast.zoneless:
            self._zoneless[name] += cast.zoneless

    def _check_column(self, column: ContractColumn, cast: CastColumn) -> list[tuple[str, pl.Series]]:
        violations = _column_violations(column, cast, self._scanner, self.count_personal)
        if column.egress == "token":
            self._near_equal.add_values(column.name, cast.values)
        return violations

    def _check_rules(self, table: pa.Table) -> list[tuple[str, str, pl.Series]]:
        import polars as pl

        violations: list[tuple[str, str, pl.Series]] = []
        rows = table.drop_columns([ROW_NUMBER])
        for name, indexes in row_rules.find_violations(rows, self.contract.rules, self.contract.columns).items():
            mark = pl.repeat(False, rows.num_rows, dtype=pl.Boolean, eager=True)
            violations.append(("rule", name, mark.scatter(indexes, True) if indexes else mark))
        return violations

    def _check_repeated(self, row_numbers: pl.Series) -> list[tuple[str, str | None, pl.Series]]:
        if self._repeated is None:
            return []
        return [
            (UNIQUE_FAULT, ",".join(key), mark_selected(row_numbers, rows))
            for key, rows in self._repeated.contradictions.items()
        ]

    def _mark_copies(self, row_numbers: pl.Series) -> pl.Series:
        import numpy as np

        return mark_selected(row_numbers, np.empty(0, np.int64) if self._repeated is None else self._repeated.copies)

    def _check_types(self) -> None:
        changed: list[Reason] = []
        for column in self.contract.columns:
            mismatched, filled = self._mismatched[column.name], self._filled[column.name]
            if filled >= _MIN_VALUES and mismatched > filled * _MAX_MISMATCH_SHARE:
                message = f"{mismatched} of {filled} values of {column.name!r} are not {column.type}"
                changed.append(Reason(code="type_changed", message=message, column=column.name, count=mismatched))
        if changed:
            raise file_refused(self.subject, *changed)

    def _check_share(self, reasons: tuple[Reason, ...]) -> None:
        limit = self.contract.max_quarantined_share
        if limit is None or self.quarantined <= self.received * limit:
            return
        message = (
            f"{self.quarantined} of {self.received} rows would wait in quarantine, more than the share of {limit} that "
            "the contract allows"
        )
        raise file_refused(
            self.subject, Reason(code="too_many_quarantined", message=message, count=self.quarantined), *reasons
        )


def tokenize_batch(valid: pa.Table, contract: DataContract, tokenizer: Tokenizer, validator: DropValidator) -> pa.Table:
    """Apply the egress rule of each column to valid rows. Raises NotFound for a token domain without a key.

    `prefix(n)` keeps the first n characters of a value. The validator counts the values that are masked.
    """
    import pyarrow as pa

    arrays: list[pa.Array | pa.ChunkedArray] = []
    schema = egress_schema(contract)
    for column in contract.columns:
        if column.egress == "never":
            continue
        values = valid[column.name]
        if column.egress == "masked":
            arrays.append(validator.mask_column(values, column.name))
        else:
            arrays.append(egress_values(column, values, tokenizer))
    arrays.append(valid[ROW_NUMBER])
    return pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)


def egress_values(column: ContractColumn, values: pa.ChunkedArray, tokenizer: Tokenizer) -> pa.Array | pa.ChunkedArray:
    """Return the values of one column as they leave the enclave."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if (length := prefix_length(column.egress)) is not None:
        return pc.utf8_slice_codeunits(values, 0, length)
    match column.egress:
        case "token" if column.domain is not None:
            return tokenizer.tokenize_column(column.domain, values)
        case "year":
            return pc.year(values)
        case "plain":
            return values
        case _:
            return pa.nulls(len(values), pa.string())


def _column_violations(
    column: ContractColumn,
    cast: CastColumn,
    scanner: PiiScanner,
    count_personal: Callable[[str, Mapping[str, int]], None],
) -> list[tuple[str, pl.Series]]:
    """Check one column. Returns the reason codes, each with a mask of the rows that violate it."""
    import polars as pl

    values = cast.values
    violations = [*cast.faults]
    if column.required:
        violations.append(("required", values.is_null() & ~cast.invalid))
    if column.enum:
        allowed = pl.Series(list(column.enum)).cast(values.dtype)
        violations.append(("enum", ~values.is_in(allowed.implode()).fill_null(True)))
    if column.minimum is not None or column.maximum is not None:
        out_of_range = casting.find_out_of_range(
            values, column.type, minimum=column.minimum, maximum=column.maximum, timezone=column.timezone
        )
        violations.append(("range", out_of_range))
    is_prefix = prefix_length(column.egress) is not None
    mismatched = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    if column.pattern is not None:
        mismatched = ~values.str.contains(column.pattern).fill_null(True)
    if is_prefix and re.search(_POSTCODE_COLUMN, column.name.casefold()):
        # The first digits of another form of postal code are another place.
        mismatched = mismatched | ~values.str.contains(_ZIP_CODE).fill_null(True)
    violations.append(("pattern", mismatched))
    if (column.egress == "plain" and not column.enum) or is_prefix:
        # A column of numbers is searched if its name says so: `ssn`.
        scan = scanner.scan_column(values, column_name=column.name)
        if scan.counts:
            count_personal(column.name, scan.counts)
            violations.append(("personal_data", scan.matches))
    return violations


def _reason_table(row_numbers: pl.Series, violations: list[tuple[str, str | None, pl.Series]]) -> pa.Table:
    import polars as pl
    import pyarrow as pa

    parts = [
        pl.DataFrame({ROW_NUMBER: row_numbers.filter(mark)}).with_columns(
            pl.lit(code, pl.String).alias("code"), pl.lit(column, pl.String).alias("column")
        )
        for code, column, mark in violations
        if mark.any()
    ]
    schema = pa.schema([(ROW_NUMBER, pa.int64()), ("code", pa.string()), ("column", pa.string())])
    if not parts:
        return schema.empty_table()
    return pl.concat(parts).sort([ROW_NUMBER, "code", "column"]).to_arrow().cast(schema)


def _collect_messages(contract: DataContract) -> dict[tuple[str, str | None], str]:
    """Collect the messages of a contract's reasons, by code and rule (None: for any column)."""
    codes = {**load_format(contract.format).row_faults, **_MESSAGES}
    rules = {("rule", rule.name): rule.description for rule in contract.rules}
    return {**{(code, None): message for code, message in codes.items()}, **rules}


def _build_reason(code: str, column: str | None, count: int, messages: Mapping[tuple[str, str | None], str]) -> Reason:
    unknown = "the row violates the rule" if code == "rule" else "the row cannot be read"
    message = messages.get((code, column if code == "rule" else None), unknown)
    return Reason(code=code, message=message, column=column, count=count)
