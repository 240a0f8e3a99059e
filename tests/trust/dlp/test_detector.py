"""A detector: what a pattern of a column adds, and which numbers are public."""

from __future__ import annotations

import pyarrow as pa
import pytest

from wellspring.trust.dlp.checksums import LuhnChecksum
from wellspring.trust.dlp.detector import Detector, PiiPattern
from wellspring.trust.dlp.scanner import PiiScanner


def test_a_pattern_may_apply_to_columns_of_some_names_only():
    scanner = PiiScanner([Detector("badge", (PiiPattern("[0-9]{4}", column_pattern="badge"),))])
    assert scanner.find_pii("1234") == []
    assert scanner.scan_column(["1234"], column_name="year").counts == {}
    assert scanner.scan_column(["1234"], column_name="Badge").counts == {"badge": 1}


def test_a_label_is_required_and_not_part_of_the_value():
    scanner = PiiScanner([Detector("badge", (PiiPattern("[0-9]{4}", label="badge "),), public=True)])
    assert scanner.mask_text("Badge 1234, year 1234") == "Badge [badge], year 1234"
    assert scanner.public_kinds == {"badge"}


@pytest.mark.parametrize("checksum", [None, LuhnChecksum()])
def test_a_value_beside_excluding_text_is_not_reported(checksum: LuhnChecksum | None):
    pattern = PiiPattern("[0-9]{4}", exclude_before="suite ", exclude_after=" (?:euro|dollar)s?")
    scanner = PiiScanner([Detector("badge", (pattern,), checksum)])
    text = "Suite 0018, 0018 euros, 0018 at 9"
    assert scanner.mask_text(text) == "Suite 0018, 0018 euros, [badge] at 9"
    texts = [text, "suite 0018", "0018 dollar", "0018", "suites: 0018"]
    assert scanner.scan_column(texts).matches.to_list() == [True, False, False, True, True]
    assert scanner.mask_column(texts)[0].to_list() == [scanner.mask_text(text) for text in texts]


def test_a_column_of_numbers_is_searched_with_the_patterns_of_its_name_only():
    patterns = (PiiPattern("[0-9]{4}", column_pattern="(?:^|_)badge"), PiiPattern("[0-9]{3}"))
    scanner = PiiScanner([Detector("badge", patterns)])
    assert scanner.scan_column([1234, 123, None], column_name="staffBadge").matches.to_list() == [True, False, False]
    assert scanner.scan_column([1234, 123], column_name="year").counts == {}
    assert scanner.scan_column(pa.chunked_array([[1234]]), column_name="Badge").counts == {"badge": 1}
