"""Validate rows against a contract: valid rows are tokenized, the others quarantined with every reason. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.contracts import casting
from wellspring.data.contracts.columns import prefix_length
from wellspring.data.contracts.contract import egress_schema
from wellspring.data.formats.parsed import (
    ROW_NUMBER,
    UNIQUE_FAULT,
    ParsedBatch,
    check_columns,
    default_subject,
    file_refused,
    safe_column_name,
    unpack_rows,
)
from wellspring.data.formats.registry import load_format
from wellspring.data.quality import row_rules
from wellspring.lake import table_hash
from wellspring.records.contracts import ContractColumn, DataContract
from wellspring.records.ingestion import AdmissionCounts
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.dlp.scanner import PiiScanner

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from wellspring.trust.tokenization import Tokenizer

_MESSAGES = {
    UNIQUE_FAULT: "an earlier row has the same value",
    "required": "a required value is missing",
    "type": "the value does not have the declared type",
    "enum": "the value is not one of the valid values",
    "range": "the value is below the minimum or above the maximum",
    "pattern": "the value does not match the declared pattern, or is not a ZIP code",
    "personal_data": "the value contains personal data, and the column has egress plain, or prefix and is required",
}
_POSTCODE_COLUMN = r"zip|postal|post_?code"
_ZIP_CODE = r"^[0-9]{5}(-[0-9]{4})?$"
_MAX_MISMATCH_SHARE = 0.5
_MIN_VALUES = 10
"""The type of a column counts as changed if more than half of at least ten values do not have it."""


class ValidationResult(NamedTuple):
    """Rows validated against a contract. The tables contain personal data and never leave the enclave.

    valid: the declared columns, typed, and row_number. quarantined: the other rows as delivered, packed
    (`ParsedBatch.pack_rows`). reasons: one row per reason of each quarantined row: row_number, code, column (the name
    of the rule for code `rule`). findings: about the whole file. counts: `masked` counts the values in undeclared
    columns, none of which leaves the enclave; `tokenize_rows` adds those that it masks or makes null.
    """

    valid: pa.Table
    quarantined: pa.Table
    reasons: pa.Table
    findings: tuple[Reason, ...]
    counts: AdmissionCounts


class TokenizedRows(NamedTuple):
    """Rows that may leave the enclave, and the counts of the validation, completed."""

    table: pa.Table
    counts: AdmissionCounts


def validate_rows(
    parsed: ParsedBatch, contract: DataContract, scanner: PiiScanner, *, subject: str | None = None
) -> ValidationResult:
    """Validate every row and collect all reasons of each invalid row. Of rows with the same key, the first is valid.

    subject: the subject of the verdict (default: the contract). Raises Refused with its Verdict if most values of a
    column do not have the declared type.
    """
    return _validate(parsed, contract, scanner, subject or default_subject(contract), whole_file=True)


def revalidate_rows(
    quarantined: pa.Table, contract: DataContract, scanner: PiiScanner, *, subject: str | None = None
) -> ValidationResult:
    """Validate quarantined rows (`ValidationResult.quarantined`) again. A row with a permanent fault stays invalid.

    After the rows that are now valid are published, the `quarantined` rows of this result replace the old ones.
    Raises Refused if the contract declares a column that these rows do not have.
    """
    verdict_subject = subject or default_subject(contract)
    parsed = unpack_rows(quarantined)
    check_columns(parsed, contract, verdict_subject)
    return _validate(parsed, contract, scanner, verdict_subject, whole_file=False)


def tokenize_rows(
    result: ValidationResult, contract: DataContract, tokenizer: Tokenizer, scanner: PiiScanner
) -> TokenizedRows:
    """Apply the egress rule of each column to the valid rows. Raises NotFound for a token domain without a key.

    `prefix(n)` keeps the first n characters of a value; a value that contains personal data becomes null. In a postcode
    column (a name with `zip`, `postal` or `postcode`), a value that is not a ZIP or ZIP+4 code becomes null. In a
    required column, neither is in a valid row. `masked` counts the values that are masked or become null.
    """
    import pyarrow as pa

    masked = result.counts.masked
    arrays: list[pa.Array | pa.ChunkedArray] = []
    schema = egress_schema(contract)
    for column in contract.columns:
        if column.egress == "never":
            continue
        values = result.valid[column.name]
        if column.egress == "masked":
            text, masked_count = scanner.mask_column(values, column_name=column.name)
            arrays.append(text.to_arrow())
            masked += masked_count
        elif (length := prefix_length(column.egress)) is not None:
            prefixes, nulled_count = _value_prefixes(column, values, length, scanner)
            arrays.append(prefixes)
            masked += nulled_count
        else:
            arrays.append(_egress_values(column, values, tokenizer))
    arrays.append(result.valid[ROW_NUMBER])
    table = pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)
    rows_digest = table_hash.hash_rows(table)
    return TokenizedRows(table, result.counts.model_copy(update={"masked": masked, "rows_digest": rows_digest}))


def reasons_by_row(result: ValidationResult, contract: DataContract) -> dict[int, tuple[Reason, ...]]:
    """Return the reasons of each quarantined row, by row number."""
    by_row: dict[int, list[Reason]] = {}
    messages = _collect_messages(contract)
    for number, code, column in zip(
        *(result.reasons[name].to_pylist() for name in (ROW_NUMBER, "code", "column")), strict=True
    ):
        by_row.setdefault(number, []).append(_build_reason(code, column, 1, messages))
    return {number: tuple(reasons) for number, reasons in by_row.items()}


def _egress_values(column: ContractColumn, values: pa.ChunkedArray, tokenizer: Tokenizer) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    match column.egress:
        case "token" if column.domain is not None:
            return tokenizer.tokenize_column(column.domain, values)
        case "year":
            return pc.year(values)
        case "plain":
            return values
        case _:
            return pa.nulls(len(values), pa.string())


def _value_prefixes(
    column: ContractColumn, values: pa.ChunkedArray, length: int, scanner: PiiScanner
) -> tuple[pa.ChunkedArray, int]:
    """Cut each value to its first characters. Returns also the number of values that became null."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    _, unusable = _unusable_prefixes(column, pl.Series(values=values).cast(pl.String), scanner)
    usable = pa.chunked_array([(~unusable).to_arrow()])
    prefixes = pc.if_else(usable, pc.utf8_slice_codeunits(values, 0, length), pa.scalar(None, pa.string()))
    return prefixes, int(unusable.sum())


def _unusable_prefixes(column: ContractColumn, values: pl.Series, scanner: PiiScanner) -> tuple[str, pl.Series]:
    """Mark the values of a prefix column of which not even the first characters may leave, with their reason code."""
    if re.search(_POSTCODE_COLUMN, column.name.casefold()):
        return "pattern", ~values.str.contains(_ZIP_CODE).fill_null(True)
    return "personal_data", scanner.scan_column(values, column_name=column.name).matches


def _validate(
    parsed: ParsedBatch, contract: DataContract, scanner: PiiScanner, subject: str, *, whole_file: bool
) -> ValidationResult:
    import polars as pl
    import pyarrow as pa

    row_faults = pl.Series(values=parsed.row_faults, dtype=pl.String)
    row_numbers = pl.Series(values=parsed.row_numbers)
    # A row that could not be read, or has a wrong number of fields, has no values to validate.
    usable = row_faults.is_null() | row_faults.eq(UNIQUE_FAULT).fill_null(False)
    type_faults = None if parsed.type_faults is None else pl.Series(values=parsed.type_faults, dtype=pl.String)
    faulty_columns = None if type_faults is None else type_faults.str.split(",")
    cast_columns = {column.name: _cast_column(parsed, column, faulty_columns) for column in contract.columns}
    if whole_file:
        _check_types(cast_columns, contract, subject, usable)
    violations: list[tuple[str, str | None, pl.Series]] = [
        (fault, None, row_faults.eq(fault).fill_null(False))
        for fault in row_faults.filter(~usable).unique().sort().to_list()
    ]
    for column in contract.columns:
        values, invalid = cast_columns[column.name]
        violations += [
            (code, column.name, mark & usable) for code, mark in _column_violations(column, values, invalid, scanner)
        ]
    frame = pl.DataFrame({name: values for name, (values, _) in cast_columns.items()})
    typed_rows = frame.to_arrow()
    typed_rows = typed_rows.cast(
        pa.schema([(column.name, casting.arrow_type(column.type)) for column in contract.columns])
    )
    for name, row_indexes in row_rules.find_violations(typed_rows, contract.rules, contract.columns).items():
        mark = pl.repeat(False, parsed.row_count, dtype=pl.Boolean, eager=True)
        violations.append(("rule", name, mark.scatter(row_indexes, True) & usable if row_indexes else mark))
    unique = [(declared.name,) for declared in contract.columns if declared.unique]
    keys = [*unique, *([contract.key] if contract.key and contract.key not in unique else [])]
    repeats = {key: _duplicate_keys(frame, key, usable) for key in keys}
    violations += [(UNIQUE_FAULT, ",".join(key), repeated) for key, repeated in repeats.items()]
    # Another row already used the key in an earlier validation.
    violations.append((UNIQUE_FAULT, ",".join(contract.key) or None, row_faults.eq(UNIQUE_FAULT).fill_null(False)))
    invalid = ~usable
    for _, _, mark in violations:
        invalid = invalid | mark
    valid = typed_rows.append_column(ROW_NUMBER, parsed.row_numbers).filter((~invalid).to_arrow())
    quarantined = _quarantined_rows(parsed, frame, invalid, repeats, row_faults)
    findings, masked = _undeclared_columns(parsed, contract, scanner)
    messages = _collect_messages(contract)
    summary = tuple(
        _build_reason(code, column, int(mark.sum()), messages) for code, column, mark in violations if mark.any()
    )
    return ValidationResult(
        valid=valid,
        quarantined=quarantined,
        reasons=_reason_table(row_numbers, violations),
        findings=(*parsed.findings, *findings),
        counts=AdmissionCounts(
            verdict=Verdict(subject=subject, outcome="pass", reasons=summary),
            received=parsed.row_count,
            admitted=valid.num_rows,
            quarantined=quarantined.num_rows,
            masked=masked,
            reasons=summary,
            rows_digest="",
        ),
    )


def _cast_column(
    parsed: ParsedBatch, column: ContractColumn, faulty_columns: pl.Series | None
) -> tuple[pl.Series, pl.Series]:
    """Cast one column, and mark the values that do not fit, also those that the format gave another type."""
    values, invalid = casting.cast_column(parsed.table[column.name], column.type)
    if faulty_columns is None:
        return values, invalid
    mismatched = faulty_columns.list.contains(column.name).fill_null(False)
    return values.set(mismatched, None), invalid | mismatched


def _check_types(
    cast_columns: dict[str, tuple[pl.Series, pl.Series]], contract: DataContract, subject: str, usable: pl.Series
) -> None:
    """Raise Refused if most values of any column do not have the declared type."""
    changed: list[Reason] = []
    for column in contract.columns:
        values, invalid = cast_columns[column.name]
        mismatch_count = int((invalid & usable).sum())
        filled = int(((values.is_not_null() | invalid) & usable).sum())
        if filled >= _MIN_VALUES and mismatch_count > filled * _MAX_MISMATCH_SHARE:
            message = f"{mismatch_count} of {filled} values of {column.name!r} are not {column.type}"
            changed.append(Reason(code="type_changed", message=message, column=column.name, count=mismatch_count))
    if changed:
        raise file_refused(subject, *changed)


def _column_violations(
    column: ContractColumn, values: pl.Series, invalid: pl.Series, scanner: PiiScanner
) -> list[tuple[str, pl.Series]]:
    """Check one column. Returns the reason codes, each with a mask of the rows that violate it."""
    import polars as pl

    violations: list[tuple[str, pl.Series]] = [("type", invalid)]
    if column.required:
        violations.append(("required", values.is_null() & ~invalid))
    if column.enum:
        allowed = pl.Series(list(column.enum)).cast(values.dtype)
        violations.append(("enum", ~values.is_in(allowed.implode()).fill_null(True)))
    if column.minimum is not None or column.maximum is not None:
        low, high = (casting.parse_bound(limit, column.type) for limit in (column.minimum, column.maximum))
        compared = values.cast(pl.Float64) if column.type.startswith("decimal") else values
        out_of_range = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
        for outside in ([compared < low] if low is not None else []) + ([compared > high] if high is not None else []):
            out_of_range = out_of_range | outside.fill_null(False)
        violations.append(("range", out_of_range))
    if column.pattern is not None:
        violations.append(("pattern", ~values.str.contains(column.pattern).fill_null(True)))
    # A column of numbers is searched if its name says so: `ssn`.
    if column.egress == "plain" and column.type.startswith(("string", "int", "float", "decimal")) and not column.enum:
        violations.append(("personal_data", scanner.scan_column(values, column_name=column.name).matches))
    if column.required and prefix_length(column.egress) is not None:
        # They would leave as null, and the lake refuses a null in a required column.
        code, unusable = _unusable_prefixes(column, values, scanner)
        earlier = [mark for known_code, mark in violations if known_code == code]
        violations = [violation for violation in violations if violation[0] != code]
        violations.append((code, earlier[0] | unusable if earlier else unusable))
    return violations


def _duplicate_keys(frame: pl.DataFrame, key: tuple[str, ...], usable: pl.Series) -> pl.Series:
    """Mark the rows whose key occurs in an earlier row. A key with a null is not compared."""
    import polars as pl

    complete = frame.select(pl.all_horizontal(pl.col(list(key)).is_not_null())).to_series() & usable
    row_indexes = complete.arg_true()
    is_first = frame.select(list(key)).filter(complete).select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return pl.repeat(False, len(frame), dtype=pl.Boolean, eager=True).scatter(row_indexes.filter(~is_first), True)


def _quarantined_rows(
    parsed: ParsedBatch,
    frame: pl.DataFrame,
    invalid: pl.Series,
    repeats: dict[tuple[str, ...], pl.Series],
    row_faults: pl.Series,
) -> pa.Table:
    """Pack the invalid rows as delivered. A row whose key a valid row uses gets a permanent fault."""
    import polars as pl

    for key, repeated in repeats.items():
        if not repeated.any():
            continue
        valid_keys = frame.select(list(key)).filter(~invalid).select(pl.struct(pl.all())).to_series()
        repeated_keys = frame.select(list(key)).filter(repeated).select(pl.struct(pl.all())).to_series()
        row_indexes = repeated.arg_true().filter(repeated_keys.is_in(valid_keys.implode()))
        row_faults = row_faults.clone().scatter(row_indexes, UNIQUE_FAULT) if len(row_indexes) else row_faults
    packed = parsed._replace(row_faults=row_faults.to_arrow().cast("string")).pack_rows()
    return packed.filter(invalid.to_arrow())


def _undeclared_columns(
    parsed: ParsedBatch, contract: DataContract, scanner: PiiScanner
) -> tuple[tuple[Reason, ...], int]:
    """Describe each undeclared column: the number of values and the kinds of personal data in it."""
    declared = {column.name for column in contract.columns}
    reasons: list[Reason] = []
    masked = 0
    for index, name in enumerate(parsed.column_names):
        if name in declared:
            continue
        column = parsed.table.column(index)
        count = len(column) - column.null_count
        masked += count
        text = casting.to_text(column)
        kinds = scanner.scan_column(text, column_name=name).counts if text is not None else {}
        kinds_text = (
            ", ".join(f"{kind} in {rows} rows" for kind, rows in kinds.items()) or "no detectable personal data"
        )
        safe_name = safe_column_name(name, scanner)
        # Without the name of the column, so that the message can be recorded in the ledger.
        message = f"the contract does not declare the column: {count} values stay in the enclave, with {kinds_text}"
        reasons.append(Reason(code="undeclared_column", message=message, column=safe_name, count=count))
    return tuple(reasons), masked


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
