"""File names with personal data; test_listing.py and test_service.py test that a finding is recorded once."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.builders.pii import SCANNER
from wellspring.enclave.findings import FindingRecorder, contains_personal_data


@pytest.mark.parametrize(
    "name",
    [
        "medical_claim_2026-09.csv",
        "claims_20261125153207.csv",
        "claims_2026112501.csv",
        "eligibility_1.csv",
        "1881018216.csv",
    ],
)
def test_dates_numbers_and_npis_are_not_personal_data(name: str) -> None:
    assert not contains_personal_data(name, SCANNER)


@pytest.mark.parametrize(
    "name",
    [
        "219-09-9999.csv",
        "ann_lee_219_09_9999.csv",
        "ssn_900-12-3456.csv",
        "claim fausto@example.com.csv",
        "claim_(212) 555-0123.csv",
    ],
)
def test_identifier_is_personal_data(name: str) -> None:
    assert contains_personal_data(name, SCANNER)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("Fausto Testperson 1950-01-01 ssn 219-09-9999.csv", ".csv"),
        ("ssn 219-09-9999.PARQUET", ".parquet"),
        ("ssn 219-09-9999.fausto", ""),
        ("ssn 219-09-9999", ""),
    ],
)
def test_hidden_name_is_the_keyed_digest_of_its_finding_and_the_suffix_of_a_format(name: str, suffix: str) -> None:
    unusable = recorder().check_name(name)
    assert unusable is not None
    digest = recorder().file_subject("vendor", name).removeprefix("file:vendor/")
    assert (unusable.code, unusable.shown) == ("personal_name", f"(hidden) {digest}{suffix}")
    assert digest != hashlib.sha256(name.encode()).hexdigest()[:16]
    assert recorder(b"another key").file_subject("vendor", name) != f"file:vendor/{digest}"


def test_of_a_long_name_only_the_beginning_is_shown() -> None:
    unusable = recorder().check_name("x" * 1_000)
    assert unusable is not None
    assert (unusable.code, unusable.shown) == ("long_name", "x" * 60 + "...")


def recorder(key: bytes = b"k" * 32) -> FindingRecorder:
    unused: Any = None
    return FindingRecorder(unused, unused, SCANNER, lambda: key)


@pytest.mark.parametrize(
    "name", ["vendor_536-90-4399.csv", "536-90-4399_vendor.csv", "vendor-536-90-4399.csv", "x_633_51_9372"]
)
def test_a_number_that_a_mark_joins_to_a_word_of_a_name_is_found(name: str) -> None:
    assert contains_personal_data(name, SCANNER)


@pytest.mark.parametrize("name", ["claims_20261125_0001.csv", "eligibility_2026-11-25.csv", "remit_835_2026-11.csv"])
def test_dates_and_numbers_of_a_name_are_not_personal_data(name: str) -> None:
    assert not contains_personal_data(name, SCANNER)
