"""Rows that keep the contract leave as tokens; the others wait in quarantine, each with every reason. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.data import digest, rules, typed
from wellspring.data.contract import leaving
from wellspring.data.formats.parsed import (
    FIELDS,
    ROW,
    UNIQUE,
    Parsed,
    held_against,
    stopped,
    subject_of,
    undeclared_name,
    unpack,
)
from wellspring.records.data import Column, Contract
from wellspring.records.record import Digest
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust import dlp

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from wellspring.trust.tokenization import Tokenizer

_WHAT = {
    FIELDS: "the row has too few or too many fields",
    UNIQUE: "an earlier row has the same value",
    "required": "it is empty and may not be",
    "type": "it is not of the declared type",
    "enum": "it is none of the valid values",
    "range": "it is below the minimum or above the maximum",
    "pattern": "it does not have the declared form",
    "personal_data": "it holds personal data, and the column leaves as it is",
}
_MOST = 0.5
_ENOUGH = 10
"""A column counts as changed when more than half of at least ten values do not have its type."""


class Judged(NamedTuple):
    """Rows held against a contract. These tables hold people: they stay inside the enclave.

    good: the declared columns, typed, and row_number. waiting: the other rows as they were found (`Parsed.pack`).
    reasons: one line for each reason of each waiting row: row_number, code, column (a rule's name for `rule`).
    summary: the same by (code, column), with counts. findings: what was noted about the whole file.
    masked: values of undeclared columns, none of which leaves.
    """

    good: pa.Table
    waiting: pa.Table
    reasons: pa.Table
    summary: tuple[Reason, ...]
    findings: tuple[Reason, ...]
    masked: int
    verdict: Verdict

    @property
    def received(self) -> int:
        return self.good.num_rows + self.waiting.num_rows


class Admitted(NamedTuple):
    """What may leave. table: as `contract.leaving` says. masked: values masked or left behind as undeclared."""

    table: pa.Table
    rows_digest: Digest
    masked: int


def judge(parsed: Parsed, contract: Contract, *, subject: str | None = None) -> Judged:
    """Hold every row against the contract and give all reasons of each row that breaks it.

    Of rows with the same key the first stays. subject: what the verdict is about (default: the contract).
    Raises Refused, with its Verdict, when most of a column no longer has its type.
    """
    return _judge(parsed, contract, subject or subject_of(contract), whole=True)


def rejudge(waiting: pa.Table, contract: Contract, *, subject: str | None = None) -> Judged:
    """Judge rows that waited (`Judged.waiting`) again; a row without its fields, or whose key has left, stays.

    Once the rows that now pass are published, keep this answer's `waiting` in the place of the old one.
    Raises Refused when the contract declares a column that these rows do not have.
    """
    about = subject or subject_of(contract)
    parsed = unpack(waiting)
    held_against(parsed.names, contract, about)
    return _judge(parsed, contract, about, whole=False)


def admit(judged: Judged, contract: Contract, tokens: Tokenizer) -> Admitted:
    """Turn good rows into what may leave: tokens, years, three digits, masked text, and what leaves as it is.

    Raises NotFound for a token domain that has no key.
    """
    import pyarrow as pa

    masked = judged.masked
    arrays: list[pa.Array | pa.ChunkedArray] = []
    schema = leaving(contract)
    for column in contract.columns:
        if column.leaves == "never":
            continue
        values = judged.good[column.name]
        if column.leaves == "masked":
            text, count = dlp.masked(values, context=column.name)
            arrays.append(text.to_arrow())
            masked += count
        else:
            arrays.append(_left(column, values, tokens))
    arrays.append(judged.good[ROW])
    table = pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)
    return Admitted(table, digest.rows(table), masked)


def why(judged: Judged, contract: Contract) -> dict[int, tuple[Reason, ...]]:
    """Give the reasons of each waiting row, by row number."""
    said = {rule.name: rule.what for rule in contract.rules}
    found: dict[int, list[Reason]] = {}
    for number, code, column in zip(
        *(judged.reasons[name].to_pylist() for name in (ROW, "code", "column")), strict=True
    ):
        found.setdefault(number, []).append(_reason(code, column, 1, said))
    return {number: tuple(reasons) for number, reasons in found.items()}


def _left(column: Column, values: pa.ChunkedArray, tokens: Tokenizer) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    match column.leaves:
        case "token" if column.domain is not None:
            return tokens.column(column.domain, values)
        case "year":
            return pc.year(values)
        case "zip3":
            # What is neither five digits nor five and four is no postcode, and nothing of it leaves.
            whole = pc.match_substring_regex(values, r"^[0-9]{5}(-[0-9]{4})?$")
            return pc.if_else(whole, pc.utf8_slice_codeunits(values, 0, 3), pa.scalar(None, pa.string()))
        case "as_is":
            return values
        case _:
            return pa.nulls(len(values), pa.string())


def _judge(parsed: Parsed, contract: Contract, about: str, *, whole: bool) -> Judged:
    import polars as pl
    import pyarrow as pa

    faults = pl.Series(values=parsed.faults, dtype=pl.String)
    numbers = pl.Series(values=parsed.row_numbers)
    # A row without its fields has its values in the wrong columns: judging them would say nothing.
    usable = ~faults.eq(FIELDS).fill_null(False)
    read = {column.name: typed.read(parsed.table[column.name], column.type) for column in contract.columns}
    if whole:
        _unchanged(read, contract, about, usable)
    marks: list[tuple[str, str | None, pl.Series]] = [(FIELDS, None, ~usable)]
    for column in contract.columns:
        values, bad = read[column.name]
        marks += [(code, column.name, mark & usable) for code, mark in _of_column(column, values, bad)]
    frame = pl.DataFrame({name: values for name, (values, _) in read.items()})
    typed_rows = frame.to_arrow()
    typed_rows = typed_rows.cast(pa.schema([(each.name, typed.arrow(each.type)) for each in contract.columns]))
    for name, places in rules.broken(typed_rows, contract.rules, contract.columns).items():
        mark = pl.repeat(False, parsed.rows, dtype=pl.Boolean, eager=True)
        marks.append(("rule", name, mark.scatter(places, True) & usable if places else mark))
    unique = [(each.name,) for each in contract.columns if each.unique]
    keys = [*unique, *([contract.key] if contract.key and contract.key not in unique else [])]
    repeats = {key: _repeats(frame, key, usable) for key in keys}
    marks += [(UNIQUE, ",".join(key), repeated) for key, repeated in repeats.items()]
    # Its key left with a good row in an earlier judgement.
    marks.append((UNIQUE, ",".join(contract.key) or None, faults.eq(UNIQUE).fill_null(False)))
    bad = marks[0][2]
    for _, _, mark in marks[1:]:
        bad = bad | mark
    good = typed_rows.append_column(ROW, parsed.row_numbers).filter((~bad).to_arrow())
    waiting = _waiting(parsed, frame, bad, repeats, faults)
    findings, masked = _undeclared(parsed, contract)
    said = {rule.name: rule.what for rule in contract.rules}
    summary = tuple(_reason(code, column, int(mark.sum()), said) for code, column, mark in marks if mark.any())
    return Judged(
        good=good,
        waiting=waiting,
        reasons=_reasons(numbers, marks),
        summary=summary,
        findings=(*parsed.notes, *findings),
        masked=masked,
        verdict=Verdict(subject=about, outcome="pass", reasons=summary),
    )


def _unchanged(read: dict[str, tuple[pl.Series, pl.Series]], contract: Contract, about: str, usable: pl.Series) -> None:
    """Raise Refused for every column of which most values no longer have the declared type."""
    changed: list[Reason] = []
    for column in contract.columns:
        values, bad = read[column.name]
        wrong = int((bad & usable).sum())
        filled = int(((values.is_not_null() | bad) & usable).sum())
        if filled >= _ENOUGH and wrong > filled * _MOST:
            what = f"{wrong} of {filled} values of {column.name!r} are not {column.type}"
            changed.append(Reason(code="type_changed", what=what, column=column.name, count=wrong))
    if changed:
        raise stopped(about, *changed)


def _of_column(column: Column, values: pl.Series, bad: pl.Series) -> list[tuple[str, pl.Series]]:
    """Hold one column against its own promises: code -> the rows that break it."""
    import polars as pl

    marks: list[tuple[str, pl.Series]] = [("type", bad)]
    if column.required:
        marks.append(("required", values.is_null() & ~bad))
    if column.enum:
        allowed = pl.Series(list(column.enum)).cast(values.dtype)
        marks.append(("enum", ~values.is_in(allowed.implode()).fill_null(True)))
    if column.minimum is not None or column.maximum is not None:
        low, high = (typed.bound(end, column.type) for end in (column.minimum, column.maximum))
        compared = values.cast(pl.Float64) if column.type.startswith("decimal") else values
        under = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
        for outside in ([compared < low] if low is not None else []) + ([compared > high] if high is not None else []):
            under = under | outside.fill_null(False)
        marks.append(("range", under))
    if column.pattern is not None:
        marks.append(("pattern", ~values.str.contains(column.pattern).fill_null(True)))
    if column.leaves == "as_is" and column.type == "string" and not column.enum:
        marks.append(("personal_data", dlp.scan(values, context=column.name).hit))
    return marks


def _repeats(frame: pl.DataFrame, key: tuple[str, ...], usable: pl.Series) -> pl.Series:
    """Find the rows whose whole key stood in an earlier row; a key with a gap is compared with nothing."""
    import polars as pl

    whole = frame.select(pl.all_horizontal(pl.col(list(key)).is_not_null())).to_series() & usable
    places = whole.arg_true()
    first = frame.select(list(key)).filter(whole).select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return pl.repeat(False, len(frame), dtype=pl.Boolean, eager=True).scatter(places.filter(~first), True)


def _waiting(
    parsed: Parsed, frame: pl.DataFrame, bad: pl.Series, repeats: dict[tuple[str, ...], pl.Series], faults: pl.Series
) -> pa.Table:
    """Keep the bad rows as they were found; mark for ever those whose key leaves with a good row."""
    import polars as pl

    for key, repeated in repeats.items():
        if not repeated.any():
            continue
        left = frame.select(list(key)).filter(~bad).select(pl.struct(pl.all())).to_series()
        ours = frame.select(list(key)).filter(repeated).select(pl.struct(pl.all())).to_series()
        places = repeated.arg_true().filter(ours.is_in(left.implode()))
        faults = faults.clone().scatter(places, UNIQUE) if len(places) else faults
    kept = Parsed(parsed.table, parsed.row_numbers, faults.to_arrow().cast("string")).pack()
    return kept.filter(bad.to_arrow())


def _undeclared(parsed: Parsed, contract: Contract) -> tuple[tuple[Reason, ...], int]:
    """Say of each undeclared column how many values it has and what kinds of personal data are in it."""
    declared = {column.name for column in contract.columns}
    found: list[Reason] = []
    masked = 0
    for place, name in enumerate(parsed.names):
        if name in declared:
            continue
        column = parsed.table.column(place)
        count = len(column) - column.null_count
        masked += count
        text = typed.as_text(column)
        kinds = dlp.scan(text, context=name).counts if text is not None else {}
        holds = ", ".join(f"{kind} in {rows} rows" for kind, rows in kinds.items()) or "no personal data that we know"
        called = undeclared_name(name)
        what = f"the contract does not declare {called!r}: {count} values stay behind; found: {holds}"
        found.append(Reason(code="undeclared_column", what=what, column=called, count=count))
    return tuple(found), masked


def _reasons(numbers: pl.Series, marks: list[tuple[str, str | None, pl.Series]]) -> pa.Table:
    import polars as pl
    import pyarrow as pa

    parts = [
        pl.DataFrame({ROW: numbers.filter(mark)}).with_columns(
            pl.lit(code, pl.String).alias("code"), pl.lit(column, pl.String).alias("column")
        )
        for code, column, mark in marks
        if mark.any()
    ]
    schema = pa.schema([(ROW, pa.int64()), ("code", pa.string()), ("column", pa.string())])
    if not parts:
        return schema.empty_table()
    return pl.concat(parts).sort([ROW, "code", "column"]).to_arrow().cast(schema)


def _reason(code: str, column: str | None, count: int, rules_said: dict[str, str]) -> Reason:
    what = rules_said.get(column or "", "the rule is broken") if code == "rule" else _WHAT[code]
    return Reason(code=code, what=what, column=column, count=count)
