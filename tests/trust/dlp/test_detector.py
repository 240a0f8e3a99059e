"""A detector: what a pattern of a column adds, and which numbers are public."""

from __future__ import annotations

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
