"""Generated drops of one contract with a key of two columns: any number of rows, written in blocks."""

from __future__ import annotations

from pathlib import Path

import polars as pl

BLOCK_ROWS = 500_000
LINES_PER_ORDER = 3
NOTE_WORDS = ("routine", "reviewed", "delivered", "amount", "requested", "records", "pending", "appeal")

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: order_line
name: order_line
version: 1.0.0
status: active
team:
  - { username: orders@vendor.example.com, role: owner }
customProperties:
  - { property: source, value: clearinghouse }
  - { property: files, value: "order_line_*.csv" }
  - { property: format, value: csv }
  - { property: set, value: orders }
slaProperties:
  - { property: retention, value: 7, unit: d }
  - { property: frequency, value: 24, unit: h }
schema:
  - name: order_line
    properties:
      - name: order_id
        logicalType: string
        required: true
        primaryKey: true
        primaryKeyPosition: 1
        classification: identifier
        logicalTypeOptions: { pattern: '^ORD[0-9]{10}$' }
        customProperties: [{ property: egress, value: token }, { property: domain, value: order }]
      - name: line_number
        logicalType: integer
        required: true
        primaryKey: true
        primaryKeyPosition: 2
        classification: operational
        logicalTypeOptions: { minimum: 1, maximum: 99 }
        customProperties: [{ property: egress, value: plain }]
      - name: customer_id
        logicalType: string
        required: true
        classification: identifier
        customProperties: [{ property: egress, value: token }, { property: domain, value: customer }]
      - name: kind
        logicalType: string
        classification: operational
        quality:
          - type: library
            metric: invalidValues
            arguments: { validValues: [online, shop] }
            mustBe: 0
        customProperties: [{ property: egress, value: plain }]
      - name: price
        logicalType: number
        physicalType: decimal(12,2)
        required: true
        classification: financial
        logicalTypeOptions: { minimum: 0, maximum: 9999999 }
        customProperties: [{ property: egress, value: plain }]
      - name: paid
        logicalType: number
        physicalType: decimal(12,2)
        classification: financial
        customProperties: [{ property: egress, value: plain }]
      - name: ordered_on
        logicalType: date
        physicalType: date
        classification: operational
        customProperties: [{ property: egress, value: plain }]
      - name: recorded_at
        logicalType: timestamp
        required: true
        classification: operational
        customProperties: [{ property: egress, value: plain }]
      - name: zip_code
        logicalType: string
        classification: demographic
        customProperties: [{ property: egress, value: prefix(3) }]
      - name: note
        logicalType: string
        classification: free_text
        customProperties: [{ property: egress, value: masked }]
"""


def write_order_drop(path: Path, rows: int, *, first: int = 0, corrected_every: int = 0, bad_every: int = 0) -> int:
    """Write a drop and return its bytes; a row depends on its number only, so two drops of one range are equal.

    first: number of the first row. corrected_every: every n-th row has another price and a later `recorded_at`.
    bad_every: the `kind` of every n-th row is not a valid value. The file appears under its name when it is complete.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        for start in range(first, first + rows, BLOCK_ROWS):
            numbers = pl.int_range(start, min(start + BLOCK_ROWS, first + rows), dtype=pl.Int64, eager=True)
            block = _build_rows(numbers, corrected_every, bad_every)
            block.write_csv(file, include_header=start == first)
    part.rename(path)
    return path.stat().st_size


def _build_rows(numbers: pl.Series, corrected_every: int, bad_every: int) -> pl.DataFrame:
    number = pl.col("number")
    mixed = number.hash(seed=7)
    corrected = number % corrected_every == 0 if corrected_every else pl.lit(False)
    bad = number % bad_every == 0 if bad_every else pl.lit(False)
    day = pl.date(2026, 1, 1) + pl.duration(days=mixed % 200)
    words = pl.Series(NOTE_WORDS)
    cents = (mixed % 9_999_900).cast(pl.Int64)
    return numbers.to_frame("number").select(
        order_id="ORD" + (number // LINES_PER_ORDER).cast(pl.String).str.zfill(10),
        line_number=number % LINES_PER_ORDER + 1,
        customer_id="CUS" + (mixed % 20_000_000).cast(pl.String).str.zfill(8),
        kind=pl.when(bad)
        .then(pl.lit("unknown"))
        .when(number % 2 == 0)
        .then(pl.lit("online"))
        .otherwise(pl.lit("shop")),
        price=_format_cents(cents + corrected.cast(pl.Int64)),
        paid=_format_cents(cents // 3),
        ordered_on=day.dt.to_string(),
        recorded_at=(
            pl.datetime(2026, 9, 1) + pl.duration(minutes=mixed % 1000, days=corrected.cast(pl.Int64))
        ).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        zip_code=(mixed % 90_000 + 10_000).cast(pl.String),
        note=pl.concat_str(
            [
                pl.lit(words.implode()).list.get(((mixed // divisor) % len(words)).cast(pl.Int64))
                for divisor in (1, 8, 64, 512)
            ],
            separator=" ",
        ),
    )


def _format_cents(cents: pl.Expr) -> pl.Expr:
    return (cents // 100).cast(pl.String) + "." + (cents % 100).cast(pl.String).str.zfill(2)
