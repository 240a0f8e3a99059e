"""From the bytes of a drop to what may leave and what waits: read, judge, tokenize. No store, no socket, no ledger."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data import admit
from wellspring.data.formats import csv as csv_format
from wellspring.data.formats import parquet as parquet_format
from wellspring.data.formats.parsed import FAULT, ROW, Parsed
from wellspring.enclave.masking import masked
from wellspring.errors import Refused
from wellspring.records.data import Contract
from wellspring.records.record import Digest
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.port import Progress

if TYPE_CHECKING:
    import pyarrow as pa


class Held(NamedTuple):
    """Why one row waits. fault: what no replay can mend. shown: its values, masked."""

    reasons: tuple[Reason, ...]
    fault: str | None
    shown: dict[str, str]


class Judgement(NamedTuple):
    """What came of a drop's rows. table: what may leave, None when the drop was stopped whole. notes: on the file."""

    verdict: Verdict
    received: int
    masked: int
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    table: pa.Table | None
    rows_digest: Digest
    waiting: dict[int, Held]

    @property
    def admitted(self) -> int:
        return 0 if self.table is None else self.table.num_rows

    @property
    def row_numbers(self) -> list[int]:
        """The rows that may leave, by their place in the file."""
        return [] if self.table is None else self.table[ROW].to_pylist()


def judge(content: bytes, contract: Contract, tokens: Tokenizer, *, subject: str, progress: Progress) -> Judgement:
    """Judge a whole drop. One that is broken whole comes back with a verdict of `fail`, and nothing of it leaves."""
    received = 0
    try:
        progress("parse", 0, len(content))
        parsed = read(content, contract, subject=subject)
        received = parsed.rows
        progress("judge", 0, received)
        judged = admit.judge(parsed, contract, subject=subject)
    except Refused as stopped:
        if stopped.verdict is None:
            raise
        received = received or count(content, contract)
        return Judgement(stopped.verdict, received, 0, stopped.verdict.reasons, (), None, "", {})
    return _admitted(judged, contract, tokens, already=0, progress=progress)


def judge_waiting(
    content: bytes,
    faults: dict[int, str | None],
    contract: Contract,
    tokens: Tokenizer,
    *,
    subject: str,
    progress: Progress,
) -> Judgement:
    """Judge again the rows of a drop that wait, and no other. faults: row number -> what no replay can mend.

    Raises Refused when the file does not have the contract's columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    progress("parse", 0, len(content))
    packed = read(content, contract, subject=subject).pack()
    packed = packed.filter(pc.is_in(packed[ROW], value_set=pa.array(list(faults), pa.int64())))
    marks = pa.array([faults[number] for number in packed[ROW].to_pylist()], pa.string())
    packed = packed.set_column(packed.schema.get_field_index(FAULT), FAULT, marks)
    progress("judge", 0, packed.num_rows)
    judged = admit.rejudge(packed, contract, subject=subject)
    # What stays behind of undeclared columns was counted when the drop was first judged.
    return _admitted(judged, contract, tokens, already=judged.masked, progress=progress)


def read(content: bytes, contract: Contract, *, subject: str) -> Parsed:
    """Read a drop in its contract's format. Raises Refused, with a verdict, for a file that is broken whole."""
    match contract.format:
        case "csv":
            return csv_format.read(content, contract, subject=subject)
        case "parquet":
            return parquet_format.read(content, contract, subject=subject)


def count(content: bytes, contract: Contract) -> int:
    """Count the rows of a drop that was stopped before they were read, for the account; 0 when that cannot be told."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if contract.format == "parquet":
        try:
            return int(pq.read_metadata(pa.BufferReader(content)).num_rows)
        except (pa.ArrowException, OSError):
            return 0
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        return max(0, sum(1 for row in csv.reader(text, strict=True) if row) - 1)
    except (UnicodeDecodeError, csv.Error):
        return 0


def _admitted(
    judged: admit.Judged, contract: Contract, tokens: Tokenizer, *, already: int, progress: Progress
) -> Judgement:
    progress("tokenize", 0, judged.good.num_rows)
    admitted = admit.admit(judged, contract, tokens)
    progress("tokenize", judged.good.num_rows, judged.good.num_rows)
    return Judgement(
        verdict=judged.verdict,
        received=judged.received,
        masked=admitted.masked - already,
        reasons=judged.summary,
        notes=judged.findings,
        table=admitted.table,
        rows_digest=admitted.rows_digest,
        waiting=_held(judged, contract),
    )


def _held(judged: admit.Judged, contract: Contract) -> dict[int, Held]:
    why = admit.why(judged, contract)
    held: dict[int, Held] = {}
    for row in judged.waiting.to_pylist():
        number, fault = row.pop(ROW), row.pop(FAULT)
        values = {name: None if value is None else str(value) for name, value in row.items()}
        held[number] = Held(why.get(number, ()), fault, masked(values, contract))
    return held
