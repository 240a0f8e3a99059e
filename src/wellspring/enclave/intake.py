"""Process a drop batch by batch: read, validate, compare, tokenize. No access to database, sockets or ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.data.contracts.contract import egress_schema
from wellspring.data.formats.parsed import ROW_NUMBER, ParsedBatch, file_refused
from wellspring.data.formats.registry import load_format
from wellspring.data.intake.duplicates import RepeatedRows, find_repeated_rows
from wellspring.data.intake.known_rows import KnownRows
from wellspring.data.intake.row_numbers import mark_selected
from wellspring.data.intake.typed_rows import type_batch
from wellspring.data.intake.validation import (
    CONTRADICTION,
    DropValidator,
    ValidatedBatch,
    egress_values,
    tokenize_batch,
)
from wellspring.enclave.masking import list_masked_inputs, mask_row
from wellspring.enclave.person_rows import PersonRowSealer
from wellspring.enclave.spool import QuarantineSpool, RowSpool
from wellspring.errors import Refused
from wellspring.lake.table_hash import RowHasher
from wellspring.records.content import FileContent
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionCounts
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.port import ProgressCallback
from wellspring.trust.vault.records import QuarantinedRecord

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SealRow = Callable[[Mapping[str, str], int], bytes]
"""Encrypts the masked values of a quarantined row with the key of its drop."""
MAX_COPY_SOURCES = 50
"""Maximum number of earlier drops that are named as the source of copies."""
OTHER_DROPS = "others"


class DropInput(NamedTuple):
    """What a drop is processed with. folder: of the spools. only_rows: the row numbers of a replay; None: all rows.

    excluded: rows that an earlier run of the same admission left out, because of what the lake held then.
    people: collects the rows of new persons; None: nobody is new, or the contract names no person.
    """

    content: FileContent
    contract: DataContract
    tokenizer: Tokenizer
    scanner: PiiScanner
    subject: str
    folder: Path
    progress: ProgressCallback
    only_rows: np.ndarray[Any, Any] | None = None
    known_rows: KnownRows | None = None
    excluded: np.ndarray[Any, Any] | None = None
    people: PersonRowSealer | None = None


class ProcessedDrop(NamedTuple):
    """The result for one drop. rows: those that may leave; None if the file was rejected. findings: about the file.

    quarantined: the rows that wait, encrypted. quarantined_digest: SHA-256 of their row numbers. excluded: valid rows
    that do not leave, because of rows of earlier drops.
    """

    counts: AdmissionCounts
    findings: tuple[Reason, ...]
    rows: RowSpool | None
    quarantined: QuarantineSpool | None
    quarantined_digest: str
    excluded: np.ndarray[Any, Any]

    def read_quarantined(self) -> Iterable[QuarantinedRecord]:
        """Read the rows that wait, once."""
        return self.quarantined.read_records() if self.quarantined is not None else ()


def process_drop(drop_input: DropInput, seal_row: SealRow | None) -> ProcessedDrop:
    """Validate and tokenize the rows of a drop. A rejected file gives the verdict `fail` and no rows.

    seal_row: None for a repetition, whose quarantined rows are stored already.
    """
    run = _DropRun(drop_input, seal_row)
    try:
        with _stopped_alone(drop_input.subject):
            repeated = find_repeated_rows(drop_input.contract, lambda names: _read_typed(drop_input, names))
            return run.process_batches(repeated)
    except Refused as refusal:
        run.close()
        if refusal.verdict is None:
            raise
        verdict = refusal.verdict
    # Here the exception is gone, and with it the memory of its frames.
    return _rejected_drop(verdict, max(_count_rows(drop_input), run.received))


def count_as_copies(subject: str, earlier_drop: str, received: int) -> ProcessedDrop:
    """Return the result of a drop whose bytes came before under another name: each of its rows is a copy."""
    rejected = _rejected_drop(Verdict(subject=subject, outcome="pass"), received)
    finding = Reason(code="same_bytes", message=f"the same bytes came before as drop {earlier_drop}", count=received)
    return rejected._replace(
        counts=rejected.counts.model_copy(update={"copies": {earlier_drop: received}}), findings=(finding,)
    )


def reject_unread(subject: str) -> ProcessedDrop:
    """Return the result of a drop that is not read again, because the process ended in attempts to read it."""
    message = (
        "the process that read it ended unexpectedly: it needs more memory than [enclave] memory_mb allows, or a "
        "library fails on it"
    )
    reason = Reason(code="unprocessable", message=message)
    return _rejected_drop(Verdict(subject=subject, outcome="fail", reasons=(reason,)), 0)


def read_keys(drop_input: DropInput) -> RowSpool:
    """Read the keys of a drop as they leave the enclave: the columns of the contract's key. Null keys are left out.

    Empty for a file that cannot be read: its admission reports that.
    """
    import pyarrow as pa

    contract = drop_input.contract
    schema = egress_schema(contract)
    key_schema = pa.schema([schema.field(name) for name in contract.key])
    spool = RowSpool(drop_input.folder, key_schema)
    columns = [column for name in contract.key for column in contract.columns if column.name == name]
    try:
        with _stopped_alone(drop_input.subject):
            for batch in _read_batches(drop_input, "compare"):
                typed = type_batch(batch, contract, contract.key)
                table = typed.to_arrow().filter(typed.usable.to_arrow())
                arrays = [egress_values(column, table[column.name], drop_input.tokenizer) for column in columns]
                cast = [array.cast(field.type) for array, field in zip(arrays, key_schema, strict=True)]
                spool.write_rows(pa.table(cast, schema=key_schema).drop_null())
    except Refused as refusal:
        spool.close()
        if refusal.verdict is None:
            raise
        return RowSpool(drop_input.folder, key_schema)
    return spool


class _DropRun:
    """One run over the batches of a drop, with what it has written so far."""

    def __init__(self, drop_input: DropInput, seal_row: SealRow | None) -> None:
        self._input = drop_input
        self._seal_row = seal_row
        self._rows = RowSpool(drop_input.folder, egress_schema(drop_input.contract))
        self._quarantined = QuarantineSpool(drop_input.folder)
        self._numbers_hash = _NumbersHash()
        self._hasher = RowHasher(egress_schema(drop_input.contract))
        self._copies: Counter[str] = Counter()
        self._excluded: list[np.ndarray[Any, Any]] = []
        self._validator: DropValidator | None = None

    @property
    def received(self) -> int:
        return self._validator.received if self._validator is not None else 0

    def close(self) -> None:
        self._rows.close()
        self._quarantined.close()

    def process_batches(self, repeated: RepeatedRows) -> ProcessedDrop:
        """Process all batches, then decide about the whole file."""
        import numpy as np

        drop_input = self._input
        validator = self._validator = DropValidator(
            drop_input.contract,
            drop_input.scanner,
            subject=drop_input.subject,
            repeated=repeated,
            whole_file=drop_input.only_rows is None,
        )
        for batch in _read_batches(drop_input, "validate"):
            validated = validator.validate_batch(batch)
            valid_tokens = tokenize_batch(validated.valid, drop_input.contract, drop_input.tokenizer, validator)
            tokens, waiting = self._compare_rows(valid_tokens, validator)
            self._add_people(validated.valid, valid_tokens, waiting)
            for record_batch in tokens.to_batches():
                self._hasher.update(record_batch)
            self._rows.write_rows(tokens)
            self._store_quarantined(batch, validated, waiting, validator)
        reasons, findings = validator.summarize()
        if validator.copies:
            self._copies[drop_input.subject.removeprefix("drop:")] += validator.copies
        # The values in undeclared columns were counted at the first admission.
        undeclared = validator.masked_undeclared if drop_input.only_rows is None else 0
        counts = AdmissionCounts(
            verdict=Verdict(subject=drop_input.subject, outcome="pass", reasons=reasons),
            received=validator.received,
            admitted=self._rows.rows,
            quarantined=validator.quarantined,
            copies=_name_sources(self._copies),
            masked=validator.masked + undeclared,
            reasons=reasons,
            rows_digest=self._hasher.hexdigest(),
        )
        excluded = np.concatenate(self._excluded) if self._excluded else np.empty(0, np.int64)
        return ProcessedDrop(counts, findings, self._rows, self._quarantined, self._numbers_hash.hexdigest(), excluded)

    def _compare_rows(self, tokens: pa.Table, validator: DropValidator) -> tuple[pa.Table, set[int]]:
        """Leave out the rows that earlier drops hold or contradict. Returns also the rows that wait."""
        import numpy as np
        import polars as pl

        numbers = pl.Series(values=tokens[ROW_NUMBER])
        if self._input.excluded is not None:
            return tokens.filter((~mark_selected(numbers, self._input.excluded)).to_arrow()), set()
        if self._input.known_rows is None or not len(numbers):
            return tokens, set()
        fates = self._input.known_rows.classify_rows(tokens)
        left_out = fates.copy_of.is_not_null() | fates.contradicts
        if not left_out.any():
            return tokens, set()
        self._copies.update(fates.copy_of.drop_nulls().to_list())
        waiting = set(numbers.filter(fates.contradicts).to_list())
        if waiting:
            validator.add_reason(CONTRADICTION, ",".join(self._input.contract.key), len(waiting))
        self._excluded.append(numbers.filter(left_out).to_numpy().astype(np.int64))
        return tokens.filter((~left_out).to_arrow()), waiting

    def _add_people(self, values: pa.Table, tokens: pa.Table, waiting: set[int]) -> None:
        """Collect the persons of rows that leave, now or as a copy of a row that left before."""
        import numpy as np
        import polars as pl

        if self._input.people is None:
            return
        left_out = np.array(sorted(waiting), np.int64) if self._input.excluded is None else self._input.excluded
        leaves = (~mark_selected(pl.Series(values=tokens[ROW_NUMBER]), left_out)).to_arrow()
        self._input.people.add_rows(values.filter(leaves), tokens.filter(leaves))

    def _store_quarantined(
        self, batch: ParsedBatch, validated: ValidatedBatch, waiting: set[int], validator: DropValidator
    ) -> None:
        import polars as pl

        if self._seal_row is None:
            return
        invalid = validated.invalid
        if waiting:
            invalid = invalid | pl.Series(values=batch.row_numbers).is_in(pl.Series(sorted(waiting)).implode())
        if not invalid.any():
            return
        mask = invalid.to_arrow()
        reasons_by_row = validator.reasons_by_row(validated.reasons)
        contradiction = validator.build_reason(CONTRADICTION, ",".join(self._input.contract.key))
        numbers = batch.row_numbers.filter(mask).to_pylist()
        records: list[QuarantinedRecord] = []
        for number, values in zip(numbers, list_masked_inputs(batch.table.filter(mask)), strict=True):
            sealed = self._seal_row(mask_row(values, self._input.contract), number)
            reasons = reasons_by_row.get(number, ()) or (contradiction,)
            records.append(QuarantinedRecord(number, sealed, reasons))
        self._quarantined.write_records(records)
        self._numbers_hash.add_numbers(numbers)


class _NumbersHash:
    """SHA-256 of the canonical JSON list of row numbers, without the list."""

    def __init__(self) -> None:
        self._hash = sha256(b"[")
        self._separator = b""

    def add_numbers(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._hash.update(self._separator + str(number).encode())
            self._separator = b","

    def hexdigest(self) -> str:
        finished = self._hash.copy()
        finished.update(b"]")
        return finished.hexdigest()


@contextmanager
def _stopped_alone(subject: str) -> Generator[None]:
    """Turn the failure of a library on one file into the refusal of that file, so that no other file waits for it."""
    import polars as pl
    import pyarrow as pa

    try:
        yield
    except (
        pa.ArrowException,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        ArithmeticError,
        ValueError,
        MemoryError,
    ) as exc:
        # The message of a library may quote a value.
        message = f"it cannot be processed ({type(exc).__name__})"
        raise file_refused(subject, Reason(code="unprocessable", message=message)) from None


def _read_batches(drop_input: DropInput, stage: str) -> Iterator[ParsedBatch]:
    """Read the batches of a file from its start, with the rows of a replay only."""
    contract = drop_input.contract
    content = _rewind(drop_input.content)
    for batch in load_format(contract.format).read_rows(content, contract, subject=drop_input.subject):
        drop_input.progress(stage, content.tell(), content.size)
        yield batch if drop_input.only_rows is None else _filter_batch(batch, drop_input.only_rows)


def _read_typed(drop_input: DropInput, names: Sequence[str]) -> Iterator[Any]:
    for batch in _read_batches(drop_input, "compare"):
        yield type_batch(batch, drop_input.contract, names).to_rows()


def _filter_batch(batch: ParsedBatch, row_numbers: np.ndarray[Any, Any]) -> ParsedBatch:
    import polars as pl

    mask = mark_selected(pl.Series(values=batch.row_numbers), row_numbers).to_arrow()
    return batch._replace(
        table=batch.table.filter(mask),
        row_numbers=batch.row_numbers.filter(mask),
        row_faults=batch.row_faults.filter(mask),
        type_faults=None if batch.type_faults is None else batch.type_faults.filter(mask),
    )


def _rewind(content: FileContent) -> FileContent:
    content.seek(0)
    return content


def _count_rows(drop_input: DropInput) -> int:
    """Count the rows of a file that was rejected whole; 0 if they cannot be counted either."""
    try:
        with _stopped_alone(drop_input.subject):
            content = _rewind(drop_input.content)
            return load_format(drop_input.contract.format).count_rows(content, drop_input.contract)
    except Refused as refusal:
        if refusal.verdict is None:
            raise
    return 0


def _rejected_drop(verdict: Verdict, received: int) -> ProcessedDrop:
    """Build the result of a drop that was rejected as a whole."""
    import numpy as np

    counts = AdmissionCounts(
        verdict=verdict,
        received=received,
        admitted=0,
        quarantined=0,
        masked=0,
        reasons=verdict.reasons,
        rows_digest="",
    )
    return ProcessedDrop(counts, (), None, None, _NumbersHash().hexdigest(), np.empty(0, np.int64))


def _name_sources(copies: Mapping[str, int]) -> dict[str, int]:
    """Name the drops that hold most of the copies; the others are counted together."""
    ranked: Iterable[tuple[str, int]] = sorted(copies.items(), key=lambda item: (-item[1], item[0]))
    named = dict(list(ranked)[:MAX_COPY_SOURCES])
    if unnamed := sum(copies.values()) - sum(named.values()):
        named[OTHER_DROPS] = unnamed
    return named
