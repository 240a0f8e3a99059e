"""Structured personal data is found in the shapes it comes in, and the quick way finds what the plain way finds."""

import itertools
from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.pii import SCANNER
from wellspring.trust.dlp.scanner import PiiMatch

MATCHES = {
    "ssn": [
        "219-09-9999", "219 09 9999", "219.09.9999", "219_09_9999", "219/09/9999", "219 - 09 - 9999", "(219-09-9999)",
        "ssn 900123456", "SSN:900123456", "ssn# 900123456", "Social Security Number: 900123456", "SSN900-12-3456",
        "soc sec no. 900123456", "SSN of Ann Lee: 900-12-3456", "ssn 000-00-0000", "hicn 900-12-3456A",
        "\uff12\uff11\uff19-09-9999", "219\u201109\u20139999", "219\u200b-09-99\u00ad99", "219\u00a009\u20039999",
        "\u0662\u0661\u0669-\u0660\u0669-9999", "jane_doe_219-09-9999.csv",
        "SSN: 9 0 0 - 1 2 - 3 4 5 6", "SSN 900-12-\n3456", "social security number on the new form is 900123456",
        "patientSsn=900123456", "219-09-9999 (SSN)", "900123456 is her SSN", "[ssn900-12-3456]", "TIN: 900-12-3456",
        "Soc. Sec. No. 900123456",
    ],
    "itin": ["955-72-0043", "ITIN 900123456", "955_72_0043"],
    "mbi": ["1S00A00AA00", "1EG4-TE5-MK73", "1eg4te5mk73", "mbi=1S00-A00-AA00.", "1EG4 TE5 MK73"],
    "npi": ["1234567893", "npi 1234567893", "NPI: 1234-567-893", "npi number 1234567893",
            "NPI on the claim: 1234567893"],
    "phone": [
        "555-555-0123", "(555) 555-0123", "(555)555-0123", "+1 555 555 0123", "1-555-555-0123", "555.555.0123",
        "+15551234567", "+1 555 123 4567", "212 - 555 - 0123", "0044 20 7946 0958",
        "011 44 20 7946 0958", "her number is 2125550123", "212-\n555-0123",
        "fax of the clinic is 2125550123", "phoneNumber=2125550123", "CB# 1-212-555-0123", "new number 2125550123",
        "555_555_0123", "(212)5550123",
        "212-555-0123x45", "212-555-0123 ext. 45", "call (111) 123-4567", "+44 20 7946 0958", "+7 495 123 45 67",
        "call 5550123", "tel: 5555550123", "phone no 555-0123", "555\u2013555\u20130123", "fax=5555550123",
    ],
    "email": ["ann@example.com", "a.b+c@mail.example.com", "<ann@example.com>", "jos\u00e9@example.com",
              "m.o'lee@example.com",
              "ann\uff20example.com"],
    "birth_date": [
        "DOB: 1980-02-03", "dob 02/03/1980", "d.o.b. 2/3/80", "born Feb 3, 1980", "born on 3 February 1980",
        "Date of birth: 19800203", "birth date 1980.02.03", "DOB1980-02-03", "birthday: 3-Feb-1980",
        "bday 05MAY80", "b-day: 5-May-80", "DOB 05MAY1980", "born in Ohio on May 5th, 1980",
        "DOB (MM/DD/YYYY): 02/03/1980",
        "dob 050580", "DOB: 05051980", "\"birthDate\": \"1980-02-03\"", "dob 1980_02_03",
        "b. 1980-02-03", "1980-02-03 (DOB)", "patientDob=19800203", "DOB on the new card is 02/03/1980",
        "born July 26,\n1940", "[DOB 1927/01/26]",
    ],
    "card": ["4111 1111 1111 1111", "378282246310005", "card:5555-5555-5555-4444.", "4111_1111_1111_1111",
             "4111.1111.1111.1111",
             "3056 930902 5904", "30569309025904", "order 4111 1111 1111 1111", "visa4111111111111111",
             "cc# 4111111111111111", "4111 1111\n1111 1111"],
    "iban": ["DE89 3704 0044 0532 0130 00", "gb82west12345698765432", "DE89-3704-0044-0532-0130-00",
             "GB82 WEST 1234\n5698 7654 32",
             "IBAN FR1420041010050500013M02606,"],
    "url": ["https://example.com/a?b=c", "see www.example.org/x", "HTTP://EXAMPLE.COM"],
    "ip_address": ["192.0.2.17", "2001:db8::ff00:42:8329", "from 10.0.0.1.", "10.0.0.1:8080", "fe80::1",
                   "host ::ffff:192.0.2.1", "ip10.0.0.1"],
    "member_id": ["M123456789", "WSP000000001", "member m123456789,"],
}  # fmt: skip
CLEAN = [
    "", "seen twice", "99213", "E11.9", "2024-03-04", "900123456", "900-123-456", "12-3456789", "1234567890",
    "12345678930",
    "CLM0000000000001", "A900-12-34567", "1LG4TE5MK73", "M12345678", "XM123456789", "ann at example.com", "a@b",
    "5550123",
    "$1,234.50", "10:30", "member since 2019",
]  # fmt: skip
# Numbers that have the shape of an identifier, and are another number or none.
OTHER_NUMBERS = [
    "000-12-3456", "666-12-3456", "900-12-3456", "219-00-9999", "219-09-0000", "CLM219-09-9999", "INV_219-09-9999",
    "order 219-09-9999", "Order #219-09-9999", "Invoice no. 219-09-9999", "claim number is 219-09-9999",
    "claims 219-09-9999 and 219-09-9998", "P.O. #219-09-9999", "SKU: 219-09-9999", "lot 219-09-9999",
    "case no 219-09-9999",
    "2024-219-09-9999", "219-09-9999-01", "AB-219-09-9999", "219-09-9999 (order number)", "seen219-09-9999today",
    "123-456-7890", "012-345-6789", "211-555-0123", "212-111-0123", "212-911-0123", "x212-555-0123",
    "tracking number: 212-555-0123", "ref 212-555-0123", "part no 212-555-0123", "212-555-0123 is the claim number",
    "212-555-0123-9", "version 10.0.0.1", "v1.2.3.4", "Chrome/120.0.0.0", "1.2.3.4.5", "1.2.3.4-rc1", "\u00a7 5.1.11.7",
    "add::face",
    "978-3-16-148410-0", "ISBN 0-306-40615-2", "12:30:45.123", "40.7128, -74.0060", "$1234567893", "1234567893.55",
    "0.1234567893", "x1234567893y", "order 1234567893", "order 4111111111111111", "seen on 05MAY80",
    "newborn 2024-03-04",
    "call volume was 1234567", "cell count: 2500000", "social media followers 219099999", "social budget is 219099999",
    "deed of 06/15/1950, DOB not known", "typed LU70 4111 1111 1111 1111",
    "DOB not known; seen on 2024-03-04", "the birthday party was 3 days long",
]  # fmt: skip
PIECES = st.sampled_from(
    [item for texts in MATCHES.values() for item in texts] + CLEAN + OTHER_NUMBERS
    + ["order ", "claim no. ", " (order number)", "$", "-01",
       " ", "-", ".", "1", "9", "M", "ssn ", "dob:", "npi", "@", "\u200b", "\u2013", "\uff11", "\u0301", "\n", "call"]
)  # fmt: skip
TEXTS = st.lists(st.none() | st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join), max_size=12)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in MATCHES.items() for text in texts])
def test_what_is_there_is_found_and_masked(kind: str, text: str):
    hits = SCANNER.find_pii(text)
    assert [hit.kind for hit in hits] == [kind]
    assert SCANNER.scan_column([text]).counts == {kind: 1}
    cleaned = SCANNER.mask_text(text)
    assert f"[{kind}]" in cleaned
    assert SCANNER.find_pii(cleaned) == []
    assert text[hits[0].start : hits[0].end] not in cleaned


DISGUISES: dict[str, Callable[[str], str]] = {
    "full width": lambda text: "".join(chr(ord(item) + 0xFEE0) if "!" <= item <= "~" else item for item in text),
    "composed": lambda text: f"Ren\u00e9: {text} \u00fc",
    "decomposed": lambda text: f"Rene\u0301: {text} u\u0308",
    "invisible": lambda text: "\u200b".join(text),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "other hyphens": lambda text: text.replace("-", "\u2011"),
    "capitals": str.upper,
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_text_contains_what_the_plain_one_contains(disguise: str):
    for kind, texts in MATCHES.items():
        disguised = [DISGUISES[disguise](text) for text in texts]
        assert SCANNER.scan_column(disguised).matches.all(), kind
        for text in disguised:
            assert [hit.kind for hit in SCANNER.find_pii(text)] == [kind], text


@pytest.mark.parametrize("text", [*CLEAN, *OTHER_NUMBERS])
def test_what_is_not_personal_is_left_alone(text: str):
    assert SCANNER.find_pii(text) == []
    assert SCANNER.mask_text(text) == text
    assert SCANNER.scan_column([text]).counts == {}


@given(TEXTS, st.sampled_from(["", "note", "birth_date", "ssn", "home_phone"]))
def test_the_column_scan_finds_what_the_plain_search_finds(texts: list[str | None], context: str):
    scanned = SCANNER.scan_column(pl.Series(texts, dtype=pl.String), column_name=context)
    plain = [SCANNER.find_pii(text or "", column_name=context) for text in texts]
    assert scanned.matches.to_list() == [bool(hits) for hits in plain]


@given(TEXTS)
def test_a_masked_column_is_each_of_its_texts_masked(texts: list[str | None]):
    cleaned, count, _ = SCANNER.mask_column(pl.Series(texts, dtype=pl.String))
    assert cleaned.to_list() == [None if text is None else SCANNER.mask_text(text) for text in texts]
    assert count == sum(bool(SCANNER.find_pii(text or "")) for text in texts)


@given(TEXTS)
def test_hits_are_in_order_and_apart(texts: list[str | None]):
    for text in texts:
        hits = SCANNER.find_pii(text or "")
        assert all(item.end <= second.start for item, second in itertools.pairwise(hits))


def test_neighbours_are_found_both():
    text = "219-09-9999 219-09-9998,M123456789 M123456788"
    assert [hit.kind for hit in SCANNER.find_pii(text)] == ["ssn", "ssn", "member_id", "member_id"]
    assert SCANNER.mask_text(text) == "[ssn] [ssn],[member_id] [member_id]"


def test_overlapping_matches_are_masked_as_one():
    assert SCANNER.mask_text("born 3 Feb 1980@mail.example.com, ok") == "born [birth_date], ok"


def test_an_npi_differs_from_other_numbers_by_its_check_digit():
    numbers = [f"123456789{last}" for last in range(10)]
    assert [number for number in numbers if SCANNER.find_pii(number)] == ["1234567893"]
    assert SCANNER.scan_column(numbers).matches.to_list() == [number == "1234567893" for number in numbers]
    assert SCANNER.scan_column([f"no {number}" for number in numbers]).counts == {"npi": 1}


def test_a_columns_name_makes_a_bare_value_personal():
    assert SCANNER.find_pii("1980-02-03", column_name="member_birth_date") == [PiiMatch("birth_date", 0, 10)]
    assert SCANNER.find_pii("900123456", column_name="social_security_number")[0].kind == "ssn"
    assert SCANNER.scan_column(["5550123"], column_name="home_phone").counts == {"phone": 1}
    assert SCANNER.scan_column(["1980-02-03"], column_name="service_date").counts == {}


@pytest.mark.parametrize("name", ["order_no", "InvoiceNumber", "claim id", "po", "sku", "tracking_number"])
def test_a_columns_name_makes_a_bare_value_another_number(name: str):
    values = ["219-09-9999", "212-555-0123", "4111111111111111", "1234567893"]
    assert SCANNER.scan_column(values, column_name=name).counts == {}
    # What a label names is found in any column.
    assert SCANNER.scan_column(["SSN 219-09-9999"], column_name=name).counts == {"ssn": 1}


@pytest.mark.parametrize("name", ["claim_note", "order_comment", "reference_person", "note"])
def test_a_column_of_text_about_an_order_is_searched(name: str):
    assert SCANNER.scan_column(["219-09-9999"], column_name=name).counts == {"ssn": 1}


def test_a_column_of_versions_is_not_searched_for_addresses():
    assert SCANNER.scan_column(["10.0.0.1"], column_name="app_version").counts == {}


def test_counts_are_rows_not_distinct_texts():
    column = pa.chunked_array([["219-09-9999", None, "219-09-9999"], ["ann@example.com 219-09-9999"]])
    assert SCANNER.scan_column(column).counts == {"ssn": 3, "email": 1}


def test_a_scan_leaves_its_column_as_it_was():
    column = pl.Series(["\uff12\uff11\uff19-09-9999", "219-09-9999"])
    before = column.to_list()
    SCANNER.mask_column(column)
    assert column.to_list() == before


def test_a_long_text_without_an_end_is_searched_in_reasonable_time():
    # A pattern that goes back over what it read would take minutes here.
    assert SCANNER.find_pii("a" * 200_000) == []
    assert SCANNER.find_pii("a." * 100_000) == []
