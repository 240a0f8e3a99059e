"""Process a drop: parse, validate and tokenize its bytes. No access to database, sockets or ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.formats.parsed import ROW_FAULT, ROW_NUMBER, TYPE_FAULTS, read_all
from wellspring.data.formats.registry import load_format
from wellspring.data.intake import validation
from wellspring.enclave.masking import mask_row
from wellspring.errors import Refused
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionCounts
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.port import ProgressCallback

if TYPE_CHECKING:
    import pyarrow as pa


class QuarantineReason(NamedTuple):
    """Why one row is quarantined. permanent_fault: a fault that a replay cannot fix; masked_values: by column."""

    reasons: tuple[Reason, ...]
    permanent_fault: str | None
    masked_values: dict[str, str]


class ProcessedDrop(NamedTuple):
    """The result for one drop. table: rows that may leave; None if the file was rejected. findings: about the file."""

    counts: AdmissionCounts
    findings: tuple[Reason, ...]
    table: pa.Table | None
    quarantined_rows: dict[int, QuarantineReason]

    @property
    def row_numbers(self) -> list[int]:
        """Return the row numbers of the rows that may leave."""
        return [] if self.table is None else self.table[ROW_NUMBER].to_pylist()


def process_drop(
    content: bytes,
    contract: DataContract,
    tokenizer: Tokenizer,
    scanner: PiiScanner,
    *,
    subject: str,
    progress: ProgressCallback,
) -> ProcessedDrop:
    """Validate and tokenize a whole drop. A rejected file gives the verdict `fail` and no table."""
    received, file_format = 0, load_format(contract.format)
    try:
        progress("parse", 0, len(content))
        parsed = read_all(file_format.read_rows(BytesContent(content), contract, subject=subject))
        received = parsed.row_count
        progress("validate", 0, received)
        validation_result = validation.validate_rows(parsed, contract, scanner, subject=subject)
    except Refused as refusal:
        if refusal.verdict is None:
            raise
        received = received or file_format.count_rows(BytesContent(content), contract)
        return ProcessedDrop(_rejected_counts(refusal.verdict, received), (), None, {})
    return _tokenize_result(validation_result, contract, tokenizer, scanner, progress=progress)


def reprocess_quarantined(
    content: bytes,
    permanent_faults: dict[int, str | None],
    contract: DataContract,
    tokenizer: Tokenizer,
    scanner: PiiScanner,
    *,
    subject: str,
    progress: ProgressCallback,
) -> ProcessedDrop:
    """Validate and tokenize only the quarantined rows of a drop again.

    permanent_faults: row number -> fault or None, for each quarantined row. Raises Refused if the file does not have
    the columns of the contract.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    progress("parse", 0, len(content))
    batches = load_format(contract.format).read_rows(BytesContent(content), contract, subject=subject)
    packed = read_all(batches).pack_rows()
    packed = packed.filter(pc.is_in(packed[ROW_NUMBER], value_set=pa.array(list(permanent_faults), pa.int64())))
    fault_values = pa.array([permanent_faults[number] for number in packed[ROW_NUMBER].to_pylist()], pa.string())
    packed = packed.set_column(packed.schema.get_field_index(ROW_FAULT), ROW_FAULT, fault_values)
    progress("validate", 0, packed.num_rows)
    validation_result = validation.revalidate_rows(packed, contract, scanner, subject=subject)
    # The values in undeclared columns were counted at the first admission.
    counts = validation_result.counts.model_copy(update={"masked": 0})
    return _tokenize_result(validation_result._replace(counts=counts), contract, tokenizer, scanner, progress=progress)


def _tokenize_result(
    validation_result: validation.ValidationResult,
    contract: DataContract,
    tokenizer: Tokenizer,
    scanner: PiiScanner,
    *,
    progress: ProgressCallback,
) -> ProcessedDrop:
    progress("tokenize", 0, validation_result.valid.num_rows)
    tokenized = validation.tokenize_rows(validation_result, contract, tokenizer, scanner)
    progress("tokenize", validation_result.valid.num_rows, validation_result.valid.num_rows)
    quarantined_rows = _quarantine_reasons(validation_result, contract)
    return ProcessedDrop(tokenized.counts, validation_result.findings, tokenized.table, quarantined_rows)


def _rejected_counts(verdict: Verdict, received: int) -> AdmissionCounts:
    """Build the counts of a drop that was rejected as a whole."""
    return AdmissionCounts(
        verdict=verdict,
        received=received,
        admitted=0,
        quarantined=0,
        masked=0,
        reasons=verdict.reasons,
        rows_digest="",
    )


def _quarantine_reasons(
    validation_result: validation.ValidationResult, contract: DataContract
) -> dict[int, QuarantineReason]:
    reasons_by_row = validation.reasons_by_row(validation_result, contract)
    quarantined_rows: dict[int, QuarantineReason] = {}
    for row in validation_result.quarantined.to_pylist():
        number, fault = row.pop(ROW_NUMBER), row.pop(ROW_FAULT)
        row.pop(TYPE_FAULTS, None)
        values = {name: None if value is None else str(value) for name, value in row.items()}
        masked_values = mask_row(values, contract)
        quarantined_rows[number] = QuarantineReason(reasons_by_row.get(number, ()), fault, masked_values)
    return quarantined_rows
