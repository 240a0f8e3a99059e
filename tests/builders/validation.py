"""Validate a whole file with the validator of drops, and collect what it says of each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from tests.builders.pii import SCANNER
from wellspring.data.formats.parsed import ROW_NUMBER, ParsedBatch
from wellspring.data.formats.registry import load_format
from wellspring.data.intake.duplicates import TypedRows, find_repeated_rows
from wellspring.data.intake.typed_rows import type_batch
from wellspring.data.intake.validation import DropValidator, tokenize_batch
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason
from wellspring.trust.tokenization import Tokenizer


class ValidatedFile(NamedTuple):
    """All batches of a file. rows: as they leave. quarantined: row numbers. reasons: (row number, code, column)."""

    rows: pa.Table
    valid: pa.Table
    quarantined: list[int]
    reasons: list[tuple[int, str, str | None]]
    by_row: dict[int, tuple[Reason, ...]]
    summary: tuple[Reason, ...]
    findings: tuple[Reason, ...]
    validator: DropValidator

    @property
    def counts(self) -> list[tuple[str, str | None, int | None]]:
        """Return the reasons of the quarantined rows with their numbers."""
        return [(reason.code, reason.column, reason.count) for reason in self.summary]


def validate_file(
    content: bytes, contract: DataContract, tokenizer: Tokenizer, *, only_rows: Sequence[int] | None = None
) -> ValidatedFile:
    """Validate and tokenize a file. only_rows: the row numbers of a replay. Raises Refused as the enclave does."""

    def read() -> Iterator[ParsedBatch]:
        for batch in load_format(contract.format).read_rows(BytesContent(content), contract):
            yield batch if only_rows is None else _select_rows(batch, only_rows)

    def read_typed(names: Sequence[str]) -> Iterator[TypedRows]:
        return (type_batch(batch, contract, names).to_rows() for batch in read())

    validator = DropValidator(
        contract, SCANNER, repeated=find_repeated_rows(contract, read_typed), whole_file=only_rows is None
    )
    tokens: list[pa.Table] = []
    valid: list[pa.Table] = []
    quarantined: list[int] = []
    reasons: list[tuple[int, str, str | None]] = []
    by_row: dict[int, tuple[Reason, ...]] = {}
    for batch in read():
        validated = validator.validate_batch(batch)
        valid.append(validated.valid)
        tokens.append(tokenize_batch(validated.valid, contract, tokenizer, validator))
        quarantined += batch.row_numbers.filter(validated.invalid.to_arrow()).to_pylist()
        reasons += [(row[ROW_NUMBER], row["code"], row["column"]) for row in validated.reasons.to_pylist()]
        by_row.update(validator.reasons_by_row(validated.reasons))
    summary, findings = validator.summarize()
    return ValidatedFile(
        pa.concat_tables(tokens), pa.concat_tables(valid), quarantined, reasons, by_row, summary, findings, validator
    )


def _select_rows(batch: ParsedBatch, numbers: Sequence[int]) -> ParsedBatch:
    fields: dict[str, Any] = batch._asdict()
    mask = pa.array([number in numbers for number in batch.row_numbers.to_pylist()], pa.bool_())
    for name in ("table", "row_numbers", "row_faults", "type_faults"):
        fields[name] = None if fields[name] is None else fields[name].filter(mask)
    return ParsedBatch(**fields)
