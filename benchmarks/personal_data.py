"""Recall, precision and speed of the search for personal data: `python -m benchmarks.personal_data`, without servers.

The corpus (`tests/corpora/personal_data`) was written by authors who did not read the detectors. A label is found when
a hit of its kind covers its letters and digits (a phone: its country code may be missing); a hit is false when it
shares none with a label of its kind. A hit within a labelled URL does not count. Numbers of the example's own detector
are generated here.
Exit 1: recall below 0.99 or precision below 0.97 over all structured kinds.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.machine import describe_machine, render_table, write_result
from tests.corpora.personal_data.corpus import build_corpus
from tests.corpora.personal_data.items import CLAIMED, UNCLAIMED, Item
from wellspring.settings import DlpSettings
from wellspring.trust.dlp.registry import build_scanner
from wellspring.trust.dlp.scanner import PiiScanner

ROWS, SEED = 1_000_000, 20261130
MINIMUM_RECALL, MINIMUM_PRECISION = 0.99, 0.97
EXAMPLE = Path(__file__).parents[1] / "examples" / "health_plan" / "wellspring.toml"
# The share of rows of each form. `#` is a digit.
NOTES = (
    (0.30, ""),
    (0.20, "Reviewed, no further action."),
    (0.25, "Line #### received on 2026-0#-1#, amount $#,###.##, 3 units of 99213; see page ##."),
    (0.15, "Reprocessed under reference CLM########## after an appeal; paid ##.## on 2026-0#-2#, version 2.#.#."),
    (0.03, "Member called from 2##-555-01## about this line."),
    (0.03, "Caller gave SSN 9##-2#-####; matched."),
    (0.02, "Sent a copy to member####@example.com and asked for a signed form."),
    (0.02, "DOB 0#/1#/19## does not match the roll."),
)


class KindScore(NamedTuple):
    """Labels of a kind, how many of them are found, and hits that are false."""

    kind: str
    labels: int
    hits: int
    false_hits: int

    @property
    def recall(self) -> float:
        return self.hits / self.labels if self.labels else 1.0

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.false_hits) if self.hits + self.false_hits else 1.0


class Speed(NamedTuple):
    """Rows per second, by clock and by processor time of all cores."""

    name: str
    per_second: float
    per_cpu_second: float


def load_example_scanner() -> PiiScanner:
    """Build the scanner of the example: the packs, and its own detectors."""
    settings = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))["dlp"]
    return build_scanner(DlpSettings.model_validate(settings))


def find_spans(scanner: PiiScanner, item: Item) -> list[tuple[str, int, int]]:
    """Find the spans in a text, or in a value of a column. A number or a date is found whole or not at all."""
    if item.column is None or isinstance(item.value, str | None):
        return [(hit.kind, hit.start, hit.end) for hit in scanner.find_pii(item.text, column_name=item.column or "")]
    kinds = scanner.scan_column([item.value], column_name=item.column).counts
    return [(kind, 0, len(item.text)) for kind in kinds]


def score_items(scanner: PiiScanner, items: Sequence[Item], kinds: Sequence[str]) -> list[KindScore]:
    """Count labels, hits and false hits of each kind."""
    labels, hits, false_hits = Counter[str](), Counter[str](), Counter[str]()
    for item in items:
        spans = find_spans(scanner, item)
        labels.update(kind for kind, _, _ in item.spans)
        hits.update(label[0] for label in item.spans if any(_covers(item.text, span, label) for span in spans))
        false_hits.update(span[0] for span in spans if not _is_right(item, span))
    return [KindScore(kind, labels[kind], hits[kind], false_hits[kind]) for kind in kinds]


def _places(text: str, start: int, end: int) -> set[int]:
    return {place for place in range(start, end) if text[place].isalnum()}


def _covers(text: str, span: tuple[str, int, int], label: tuple[str, int, int]) -> bool:
    missing = _places(text, *label[1:]) - _places(text, *span[1:])
    country_code = 3 if label[0] == "phone" and text[label[1]] == "+" else 0
    return span[0] == label[0] and len(missing) <= country_code


def _is_right(item: Item, span: tuple[str, int, int]) -> bool:
    kind, start, end = span
    places = _places(item.text, start, end)
    return any(
        (label_kind == kind and places & _places(item.text, label_start, label_end))
        or (label_kind == "url" and label_start <= start and end <= label_end)
        for label_kind, label_start, label_end in item.spans
    )


def make_member_items(count: int, seed: int = SEED) -> list[Item]:
    """Make texts with numbers of the example's own detector, and as many with numbers that resemble them."""
    draw = Random(seed)
    items: list[Item] = []
    for _ in range(count):
        before, after = draw.choice(["seen ", "card of ", "member_id=", "(", '"memberId": "', ""]), draw.choice(" .,;)")
        number = draw.choice(["M", "WSP", "m"]) + f"{draw.randrange(10**9):09}"
        items.append(
            Item(before + number + after, (("member_id", len(before), len(before) + len(number)),), None, "own")
        )
        similar = draw.choice([f"X{number}", f"{number}7", number[:-1], f"{number}A", f"K{number[-9:]}"])
        items.append(Item(before + similar + after, (), None, "negative/own"))
    return items


def make_notes(rows: int, seed: int = SEED) -> pl.Series:
    """Make notes of which one in ten contains personal data; the digits differ in each row."""
    draw = np.random.default_rng(seed)
    forms = draw.choice(len(NOTES), rows, p=[share for share, _ in NOTES])
    texts = pl.Series([None] * rows, dtype=pl.String)
    for form, (_, text) in enumerate(NOTES):
        places = np.flatnonzero(forms == form)
        if not text or not len(places):
            continue
        first, *pieces = text.split("#")
        column = pl.repeat(first, len(places), eager=True)
        for piece in pieces:
            column = column + pl.Series(draw.integers(0, 10, len(places))).cast(pl.String) + piece
        texts = texts.scatter(places, column)
    return texts


def measure_speed(scanner: PiiScanner, rows: int = ROWS) -> list[Speed]:
    """Time the search of notes, of numbers that occur once, and of 400 codes, and the masking of notes."""
    draw = np.random.default_rng(SEED)
    notes = make_notes(rows)
    references = "R-" + pl.Series(draw.integers(10**9, 10**10, rows)).cast(pl.String)
    codes = pl.Series(draw.integers(99_000, 99_400, rows)).cast(pl.String)
    return [
        _time_rows("scan_column, notes", rows, lambda: scanner.scan_column(notes, column_name="note")),
        _time_rows("scan_column, references", rows, lambda: scanner.scan_column(references, column_name="reference")),
        _time_rows("scan_column, codes", rows, lambda: scanner.scan_column(codes, column_name="code")),
        _time_rows("mask_column, notes", rows, lambda: scanner.mask_column(notes, column_name="note")),
    ]


def _time_rows(name: str, rows: int, work: Callable[[], object]) -> Speed:
    seconds: list[tuple[float, float]] = []
    for _ in range(3):
        started, cpu_started = time.perf_counter(), time.process_time()
        work()
        seconds.append((time.perf_counter() - started, time.process_time() - cpu_started))
    return Speed(name, rows / min(clock for clock, _ in seconds), rows / min(cpu for _, cpu in seconds))


def main() -> int:
    """Print the table of kinds, the distance to the other kinds, and the speed. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personal_data", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each column whose search is timed")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the corpus")
    arguments = parser.parse_args()
    scanner = load_example_scanner()
    own_kinds = tuple(kind for kind in scanner.kinds if kind == "member_id")
    corpus = build_corpus(arguments.seed)
    scores = [*score_items(scanner, corpus, CLAIMED), *score_items(scanner, make_member_items(300), own_kinds)]
    total = KindScore(
        "all structured kinds",
        sum(score.labels for score in scores),
        sum(score.hits for score in scores),
        sum(score.false_hits for score in scores),
    )
    lines = [
        (score.kind, f"{score.labels:,}", f"{score.recall:.4f}", f"{score.precision:.4f}", f"{score.false_hits}")
        for score in [*scores, total]
    ]
    print(render_table(("kind", "labels", "recall", "precision", "false"), lines))
    distance = score_items(scanner, corpus, UNCLAIMED)
    print("not claimed, found of labels: " + ", ".join(f"{item.kind} {item.hits}/{item.labels}" for item in distance))
    speeds = measure_speed(scanner, arguments.rows)
    head = ("column", "rows/s", "rows per CPU second")
    print(
        render_table(head, [(item.name, f"{item.per_second:,.0f}", f"{item.per_cpu_second:,.0f}") for item in speeds])
    )
    if arguments.rows == ROWS and arguments.seed == SEED:
        result = {
            "machine": describe_machine(EXAMPLE.parent),
            "scores": [score._asdict() for score in [*scores, total]],
        }
        write_result("personal_data", {**result, "speeds": [speed._asdict() for speed in speeds]})
    passed = total.recall >= MINIMUM_RECALL and total.precision >= MINIMUM_PRECISION
    print(
        f"personal data: recall {total.recall:.4f} (at least {MINIMUM_RECALL}), precision {total.precision:.4f} "
        f"(at least {MINIMUM_PRECISION}) of {total.labels:,} labels; notes: {speeds[0].per_second:,.0f} rows/s "
        f"searched, {speeds[-1].per_second:,.0f} masked: {'met' if passed else 'MISSED'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
