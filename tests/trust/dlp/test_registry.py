"""The scanner of a project: packs by name, and its own detectors, tested with their examples."""

from __future__ import annotations

import pytest

from tests.builders.pii import MEMBER_ID
from wellspring.errors import ProjectError
from wellspring.settings import DetectorSettings, DlpSettings
from wellspring.trust.dlp.registry import build_scanner


def own(pattern: str, *examples: str, checksum: str | None = None) -> DlpSettings:
    settings = DetectorSettings(pattern=pattern, examples=examples, checksum=checksum)
    return DlpSettings(packs=(), detectors={"plan_id": settings})


def test_the_packs_that_ship_are_on():
    kinds = build_scanner(DlpSettings()).kinds
    assert set(kinds) == {
        "card", "iban", "phone", "email", "url", "ip_address", "birth_date", "ssn", "itin", "mbi", "npi",
    }  # fmt: skip


def test_a_scanner_without_packs_finds_nothing():
    scanner = build_scanner(DlpSettings(packs=()))
    assert scanner.find_pii("900-12-3456") == []
    assert scanner.scan_column(["900-12-3456"]).counts == {}
    assert scanner.mask_column(["900-12-3456"])[0].to_list() == ["900-12-3456"]


def test_an_own_detector_finds_its_number_as_a_word():
    scanner = build_scanner(own("AB-[0-9]{2}", "AB-77"))
    assert scanner.mask_text("ab-77, xAB-77, AB-777") == "[plan_id], xAB-77, AB-777"
    assert scanner.scan_column(["AB-77"]).counts == {"plan_id": 1}


def test_an_own_detector_may_have_a_checksum():
    scanner = build_scanner(own("[0-9]{8}", "12345674", checksum="luhn"))
    numbers = ["12345674", "12345675", "no 12345674", "no 12345675"]
    assert [bool(scanner.find_pii(number)) for number in numbers] == [True, False, True, False]
    assert scanner.scan_column(numbers).matches.to_list() == [True, False, True, False]


def test_an_own_number_before_a_pack_gives_its_name():
    scanner = build_scanner(DlpSettings(detectors={"branch": DetectorSettings(pattern="555-.*", examples=("555-1",))}))
    assert scanner.mask_text("555-555-0123") == "[branch]"


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        (DlpSettings(packs=("cor",)), "unknown detector pack 'cor'"),
        (own("[0-9]{4}", "123"), "does not find its example '123'"),
        (own("[0-9]{8}", "12345675", checksum="luhn"), "does not find its example"),
        (own("(?=1)1", "1"), "cannot be compiled"),
        (own(r"(?P<value>1)", "1"), "cannot be compiled"),
        (own("1", "1", checksum="crc"), "unknown checksum 'crc'"),
        (DlpSettings(detectors={"ssn": MEMBER_ID}), "'ssn' is defined twice"),
    ],
)
def test_invalid_detector_settings_are_a_project_error(settings: DlpSettings, output: str):
    with pytest.raises(ProjectError, match=output):
        build_scanner(settings)
