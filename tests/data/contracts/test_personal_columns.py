"""Columns that hold personal data by their name must not leave; columns of codes, amounts and days may."""

from pathlib import Path

import pytest

from tests.builders.contracts import EXPECTED, column, contract
from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.personal_columns import find_personal_columns
from wellspring.records.contracts import ContractColumn
from wellspring.settings import DlpSettings
from wellspring.trust.dlp.registry import build_scanner

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
PERSONAL = [
    "name", "first_name", "LastName", "patient name", "MEMBER_NAME", "surname", "address", "home_address", "addr1",
    "Street", "address_line_2", "phone", "Mobile No", "email", "e-mail", "fax", "ssn", "memberSSN", "passport_number",
    "note", "comments", "free_text", "zip", "postal_code", "contactName", "itin",
]  # fmt: skip
IMPERSONAL = [
    "kind", "status", "plan_name_code", "product_name", "file_name", "brand", "mail_class", "state", "country",
    "notes_count", "place_of_service_code", "diagnosis_code_1", "line_number", "streetcar_line", "npi", "order_no",
]  # fmt: skip


def list_personal(*columns: ContractColumn) -> list[str]:
    scanner = build_scanner(DlpSettings())
    return [personal.name for personal in find_personal_columns(contract(*columns), scanner.find_column_kind)]


@pytest.mark.parametrize("name", PERSONAL)
def test_text_with_a_personal_name_must_not_leave(name: str):
    assert list_personal(column(name)) == [name]
    assert list_personal(column("c7", path=name)) == list_personal(column("c7", title=name)) == ["c7"]
    assert list_personal(column(name, "int64")) == []
    assert list_personal(column(name, egress="never")) == list_personal(column(name, egress="masked")) == []


@pytest.mark.parametrize("name", ["email", "note", "phone", "ssn", "zip"])
def test_list_of_answers_may_leave_and_a_list_of_numbers_may_not(name: str):
    assert list_personal(column(name, enum=("yes", "no"))) == []
    assert list_personal(column(name, enum=("219-09-9999", "x"))) == [name]


@pytest.mark.parametrize("name", ["name", "last_name", "street", "home_address"])
def test_list_of_names_or_addresses_must_not_leave(name: str):
    assert list_personal(column(name, enum=("smith", "jones"))) == [name]


@pytest.mark.parametrize(
    "description",
    ["the last name as the vendor spells it", "Name of the patient", "home address", "phone number of the ward",
    "E-mail address", "her passport number"],
)  # fmt: skip
def test_text_whose_description_names_personal_data_must_not_leave(description: str):
    assert list_personal(column("c7", description=description)) == ["c7"]
    assert list_personal(column("c7", description=description, egress="token", domain="c")) == []
    assert list_personal(column("c7", description=description, enum=("a", "b"))) == []


@pytest.mark.parametrize(
    "description",
    ["the name of the plan", "addressed to the ward", "notes are in another file", "how it was ordered",
    "claim adjustment reason code"],
)  # fmt: skip
def test_text_with_another_description_may_leave(description: str):
    assert list_personal(column("c7", description=description)) == []


@pytest.mark.parametrize("name", IMPERSONAL)
def test_other_texts_may_leave(name: str):
    assert list_personal(column(name)) == []


def test_prefix_of_a_postcode_may_leave_and_of_a_name_may_not():
    assert list_personal(column("zip_code", egress="prefix(3)"), column("last_name", egress="prefix(3)")) == [
        "last_name"
    ]


def test_text_that_is_classified_as_personal_must_not_leave():
    assert list_personal(column("c1", classification="contact"), column("c2", classification="free_text")) == [
        "c1",
        "c2",
    ]


def test_contracts_of_the_examples_let_none_leave():
    folders = [EXAMPLES / "health_plan" / "contracts", EXAMPLES / "parcel_delivery" / "contracts"]
    for folder in folders:
        loaded = contracts.load_all(folder, tenant="tests", known_since=EXPECTED)
        assert loaded
        for loaded_contract in loaded:
            assert list(find_personal_columns(loaded_contract, build_scanner(DlpSettings()).find_column_kind)) == []
