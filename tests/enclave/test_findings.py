"""File names with personal data; test_listing.py and test_service.py test that a finding is recorded once."""

from __future__ import annotations

import pytest

from tests.builders.pii import SCANNER
from wellspring.enclave.findings import contains_personal_data, file_subject, hide_name


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
        ("Fausto Testperson 1950-01-01 900-12-3456.csv", ".csv"),
        ("900-12-3456.PARQUET", ".parquet"),
        ("900-12-3456.fausto", ""),
        ("900-12-3456", ""),
    ],
)
def test_hidden_name_is_the_digest_of_its_finding_and_the_suffix_of_a_format(name: str, suffix: str) -> None:
    assert hide_name(name) == f"(hidden) {file_subject('vendor', name).removeprefix('file:vendor/')}{suffix}"
