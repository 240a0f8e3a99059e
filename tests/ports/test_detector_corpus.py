"""The detectors on the labelled corpus: a sample of what `make bench-dlp` measures, and agreement of both searches."""

from __future__ import annotations

from itertools import groupby

import polars as pl
import pytest

from benchmarks import personal_data
from tests.corpora.personal_data.corpus import build_corpus
from tests.corpora.personal_data.items import CLAIMED, Item

SCANNER = personal_data.load_example_scanner()
CORPUS = build_corpus(personal_data.SEED + 1)


def test_recall_and_precision_of_a_sample():
    scores = personal_data.score_items(SCANNER, CORPUS[::4], CLAIMED)
    assert min(score.labels for score in scores) > 50
    labels, hits = sum(score.labels for score in scores), sum(score.hits for score in scores)
    false_hits = sum(score.false_hits for score in scores)
    assert hits >= personal_data.MINIMUM_RECALL * labels, scores
    assert hits >= personal_data.MINIMUM_PRECISION * (hits + false_hits), scores
    # One kind may not hide behind the others.
    assert all(score.recall > 0.95 and score.precision > 0.95 for score in scores), scores


def test_numbers_of_the_examples_own_detector():
    (score,) = personal_data.score_items(SCANNER, personal_data.make_member_items(100), ["member_id"])
    assert score == ("member_id", 100, 100, 0)


def test_a_missed_label_and_a_false_hit_are_counted():
    items = [
        Item("ann@example.com, bob@example.com", (("email", 0, 15), ("phone", 17, 32)), None, ""),
        Item("https://a.com?m=x@y.com", (("url", 0, 23),), None, ""),
    ]
    scores = personal_data.score_items(SCANNER, items, ["email", "phone", "url"])
    assert scores == [("email", 1, 1, 1), ("phone", 1, 0, 0), ("url", 1, 1, 0)]


def test_the_search_of_a_column_finds_the_texts_in_which_the_search_of_a_text_finds():
    sample = CORPUS[::3]
    texts = pl.Series([item.text for item in sample], dtype=pl.String)
    assert SCANNER.scan_column(texts).matches.to_list() == [bool(SCANNER.find_pii(item.text)) for item in sample]
    assert SCANNER.mask_column(texts)[0].to_list() == [SCANNER.mask_text(item.text) for item in sample]
    for name, items in groupby((item for item in CORPUS if item.column), key=lambda item: item.column or ""):
        values = [item.value for item in items]
        if not all(isinstance(value, str | None) for value in values):
            continue
        matches = SCANNER.scan_column(pl.Series(values, dtype=pl.String), column_name=name).matches.to_list()
        assert matches == [bool(SCANNER.find_pii(str(value or ""), column_name=name)) for value in values], name


@pytest.mark.parametrize("speed", personal_data.measure_speed(SCANNER, rows=500), ids=lambda speed: speed.name)
def test_speed_is_measured(speed: personal_data.Speed):
    assert speed.per_second > 0


def test_one_note_in_ten_contains_personal_data():
    notes = personal_data.make_notes(3000)
    counts = SCANNER.scan_column(notes, column_name="note").counts
    assert set(counts) == {"phone", "ssn", "email", "birth_date"}
    assert 0.08 < sum(counts.values()) / len(notes) < 0.12
