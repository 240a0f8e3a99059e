"""Speed of the search for personal data, over rows of the kind that it meets: notes, references and codes."""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from wellspring.trust.dlp.scanner import PiiScanner

ROWS = 1_000_000

# The share of rows of each form. `#` is a digit.
_NOTES = (
    (0.30, ""),
    (0.20, "Reviewed, no further action."),
    (0.25, "Line #### received on 2026-0#-1#, amount $#,###.##, 3 units of 99213; see page ##."),
    (0.15, "Reprocessed under reference CLM########## after an appeal; paid ##.## on 2026-0#-2#, version 2.#.#."),
    (0.03, "Member called from 2##-555-01## about this line."),
    (0.03, "Caller gave SSN 9##-2#-####; matched."),
    (0.02, "Sent a copy to member####@example.com and asked for a signed form."),
    (0.02, "DOB 0#/1#/19## does not match the roll."),
)


class Speed(NamedTuple):
    """Rows per second, by wall clock and by processor time of one core."""

    name: str
    rows_per_second: float
    per_cpu_second: float


def make_notes(rows: int, seed: int = 7) -> pl.Series:
    """Make notes of which one in ten contains personal data; the digits differ in each row."""
    draw = np.random.default_rng(seed)
    shares = np.array([share for share, _ in _NOTES])
    forms = draw.choice(len(_NOTES), rows, p=shares)
    texts = np.empty(rows, dtype=object)
    for form, (_, text) in enumerate(_NOTES):
        places = np.flatnonzero(forms == form)
        digits = draw.integers(0, 10, (text.count("#"), len(places)))
        pieces = text.split("#")
        column = pl.repeat(pieces[0], len(places), eager=True)
        for piece, digit in zip(pieces[1:], digits, strict=True):
            column = column + pl.Series(digit).cast(pl.String) + piece
        texts[places] = column.to_numpy(allow_copy=True) if len(places) else []
    return pl.Series("note", texts.tolist(), dtype=pl.String).replace("", None)


def make_references(rows: int, seed: int = 7) -> pl.Series:
    """Make a column of numbers, each of which occurs about once."""
    numbers = np.random.default_rng(seed).integers(10**9, 10**10, rows)
    return pl.Series("reference", numbers).cast(pl.String).str.replace("^", "R-")


def make_codes(rows: int, seed: int = 7) -> pl.Series:
    """Make a column of 400 codes."""
    return pl.Series("code", np.random.default_rng(seed).integers(99000, 99400, rows)).cast(pl.String)


def measure_speed(scanner: PiiScanner, rows: int = ROWS) -> list[Speed]:
    notes, references, codes = make_notes(rows), make_references(rows), make_codes(rows)
    return [
        _time_rows("scan_column of notes", rows, lambda: scanner.scan_column(notes, column_name="note")),
        _time_rows("scan_column of references", rows, lambda: scanner.scan_column(references, column_name="reference")),
        _time_rows("scan_column of codes", rows, lambda: scanner.scan_column(codes, column_name="code")),
        _time_rows("mask_column of notes", rows, lambda: scanner.mask_column(notes, column_name="note")),
    ]


def _time_rows(name: str, rows: int, work: Any) -> Speed:
    best_wall = best_cpu = float("inf")
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best_wall = min(best_wall, time.perf_counter() - wall)
        best_cpu = min(best_cpu, time.process_time() - cpu)
    return Speed(name, rows / best_wall, rows / best_cpu)


if __name__ == "__main__":
    from wellspring.settings import DetectorSettings, DlpSettings
    from wellspring.trust.dlp.registry import build_scanner

    member = DetectorSettings(pattern="(?:M|WSP)[0-9]{9}", examples=("M123456789", "WSP000000001"))
    for speed in measure_speed(
        build_scanner(DlpSettings(detectors={"member_id": member})), int((sys.argv + ["1000000"])[1])
    ):
        print(f"{speed.name:28} {speed.rows_per_second:12,.0f} rows/s {speed.per_cpu_second:12,.0f} rows per CPU s")
