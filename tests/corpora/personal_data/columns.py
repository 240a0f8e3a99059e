"""Columns of tables: their names, and a spelling of the values of each."""

from collections.abc import Callable
from datetime import date
from random import Random
from typing import NamedTuple

from tests.corpora.personal_data import births, contacts, numbers
from tests.corpora.personal_data.identifiers import (
    card_digits,
    iban_text,
    impossible_phone_parts,
    impossible_ssn_parts,
    mbi_text,
    npi_digits,
    phone_parts,
    random_digits,
    wrong_card_digits,
    wrong_npi_digits,
)
from tests.corpora.personal_data.items import Value, mark, mark_decoy
from tests.corpora.personal_data.negatives import NEGATIVES, hex_digest, number_chain
from tests.corpora.personal_data.numbers import Spelling, grouped, joined_ssn
from tests.corpora.personal_data.people import CITIES, FIRST_NAMES, LAST_NAMES, full_name, recent_date, street_address
from tests.corpora.personal_data.texts import call_note, claim_note

ABSENT = ("", "", "N/A", "unknown", "-", "none")
"""What stands in a column where there is no value."""


class Column(NamedTuple):
    """A column: its name, what it tests, the spelling of its values, and what makes a value from its text."""

    name: str
    group: str
    value: Spelling
    convert: Callable[[str], Value] = str


def of(kind: str, value: Spelling) -> Spelling:
    """Label a whole value."""
    return lambda rng: mark(kind, value(rng))


def decoy(kind: str, value: Spelling) -> Spelling:
    """Note that a whole value only resembles a kind."""
    return lambda rng: mark_decoy(kind, value(rng))


def any_of(*values: Spelling) -> Spelling:
    """Mix spellings in one column."""
    return lambda rng: rng.choice(values)(rng)


def joined(parts: Callable[[Random], tuple[str, ...]], separator: str) -> Spelling:
    """Join the parts of a number."""
    return lambda rng: separator.join(parts(rng))


def without_zeros(value: Spelling) -> Spelling:
    """Drop zeros in front, as a column of integers does."""
    return lambda rng: value(rng).lstrip("0")


def note(rng: Random) -> str:
    """Return a note with values of several kinds."""
    spellings = [numbers.SSN["dash"], contacts.PHONE["dash"], contacts.EMAIL["plain"], births.BIRTH_DATE["slash"]]
    phrases = [spell(rng) for spell in rng.sample(spellings, rng.randint(0, 2))]
    return rng.choice([call_note, claim_note])(rng, phrases)


def clean_note(rng: Random) -> str:
    """Return a note with decoys only."""
    names = rng.sample(sorted(NEGATIVES), 2)
    return claim_note(rng, [NEGATIVES[name](rng) for name in names])


def iso_date(rng: Random) -> str:
    """Return a recent date."""
    return f"202{rng.randint(0, 6)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def compact_date(rng: Random) -> str:
    """Return a recent date without separators."""
    return iso_date(rng).replace("-", "")


def digits_behind(head: str, length: int) -> Spelling:
    """Return numbers of one length that begin with the same digits, so that none loses a zero as an integer."""
    return lambda rng: head + random_digits(rng, length - len(head))


phone = contacts.joined_phone
mixed_phone = any_of(*map(phone, ("{}.{}.{}", "+1{}{}{}", "{} {} {}")))
COLUMNS = (
    Column("ssn", "ssn/column", of("ssn", joined_ssn("-"))),
    Column("member_ssn", "ssn/column_plain", of("ssn", joined_ssn(""))),
    Column("ssn_num", "ssn/column_integer", of("ssn", without_zeros(joined_ssn(""))), int),
    Column("SocialSecurityNumber", "ssn/column_integer", of("ssn", without_zeros(joined_ssn(""))), int),
    Column("soc_sec_no", "ssn/column_space", of("ssn", joined_ssn(" "))),
    Column("subscriberSSN", "ssn/column_mixed", of("ssn", any_of(*map(joined_ssn, ("-", "", " ", ".", "_"))))),
    Column("field_07", "ssn/column_without_name", of("ssn", joined_ssn("-"))),
    Column("phone", "phone/column", of("phone", phone("{}-{}-{}"))),
    Column("home_phone", "phone/column_plain", of("phone", phone("{}{}{}"))),
    Column("mobile_no", "phone/column_integer", of("phone", phone("{}{}{}")), int),
    Column("fax", "phone/column_brackets", of("phone", phone("({}) {}-{}"))),
    Column("Telephone Number", "phone/column_mixed", of("phone", mixed_phone)),
    Column("msisdn", "phone/column_e164", of("phone", lambda rng: "+" + "".join(contacts.foreign_digits(rng)))),
    Column("field_12", "phone/column_without_name", of("phone", phone("({}) {}-{}"))),
    Column("email", "email/column", of("email", contacts.email_text)),
    Column("contact_mail", "email/column_upper", of("email", lambda rng: contacts.email_text(rng).upper())),
    Column("c3", "email/column_without_name", of("email", contacts.email_text)),
    Column("contact", "email/column_mixed", any_of(of("email", contacts.email_text), of("phone", phone("{}-{}-{}")))),
    Column("card_number", "card/column", of("card", card_digits)),
    Column("cc_num", "card/column_integer", of("card", card_digits), int),
    Column("payment_card", "card/column_groups", of("card", numbers.grouped_card(" "))),
    Column("field_19", "card/column_without_name", of("card", numbers.grouped_card("-"))),
    Column("iban", "iban/column", of("iban", iban_text)),
    Column("refund_account", "iban/column_groups", of("iban", grouped(iban_text, " "))),
    Column("ip_address", "ip_address/column", of("ip_address", contacts.ipv4_text)),
    Column("client_ip", "ip_address/column_v6", of("ip_address", lambda rng: contacts.ipv6_address(rng).compressed)),
    Column("remote", "ip_address/column_without_name", of("ip_address", contacts.ipv4_text)),
    Column("url", "url/column", of("url", contacts.url_text)),
    Column("attachment", "url/column_without_name", of("url", contacts.url_text)),
    Column("dob", "birth_date/column", of("birth_date", births.ISO)),
    Column("born_on", "birth_date/column_date", of("birth_date", births.ISO), date.fromisoformat),
    Column("birth_date", "birth_date/column_slash", of("birth_date", births.SLASH)),
    Column("DateOfBirth", "birth_date/column_mixed", of("birth_date", any_of(*births.FORMS.values()))),
    Column("birth_dt", "birth_date/column_integer", of("birth_date", births.FORMS["compact"]), int),
    Column("patient_bday", "birth_date/column_military", of("birth_date", births.FORMS["military"])),
    Column("member_birthdate", "birth_date/column_words", of("birth_date", births.FORMS["month_first"])),
    Column("mbi", "mbi/column", of("mbi", mbi_text)),
    Column("medicare_id", "mbi/column_groups", of("mbi", grouped(mbi_text, "-", (4, 3, 4)))),
    Column("field_23", "mbi/column_without_name", of("mbi", mbi_text)),
    Column("npi", "npi/column", of("npi", npi_digits)),
    Column("rendering_npi", "npi/column_integer", of("npi", npi_digits), int),
    Column("billingProviderNPI", "npi/column", of("npi", npi_digits)),
    Column("call_notes", "mixed/column_of_notes", note),
    Column("comments", "mixed/column_of_notes", note),
    Column("remarks", "negative/column_of_notes", clean_note),
    Column("order_no", "negative/column_ssn", decoy("ssn", joined_ssn("-"))),
    Column("claim_number", "negative/column_integer", decoy("ssn", digits_behind("4", 9)), int),
    Column("test_value", "negative/column_ssn", decoy("ssn", joined(impossible_ssn_parts, "-"))),
    Column("invoice_no", "negative/column_phone", decoy("phone", joined(phone_parts, "-"))),
    Column("tracking_number", "negative/column_integer", decoy("phone", digits_behind("6175", 10)), int),
    Column("placeholder", "negative/column_phone", decoy("phone", joined(impossible_phone_parts, "-"))),
    Column("order_ref", "negative/column_card", decoy("card", wrong_card_digits)),
    Column("batch_id", "negative/column_integer", decoy("npi", wrong_npi_digits), int),
    Column("app_version", "negative/column_version", decoy("ip_address", lambda rng: number_chain(rng, 4))),
    Column("service_date", "unclaimed/column", of("other_date", recent_date)),
    Column("due_date", "negative/column_date", decoy("birth_date", recent_date)),
    Column("created_at", "negative/column_date", decoy("birth_date", lambda rng: f"{iso_date(rng)}T08:00:00Z")),
    Column("posted_on", "negative/column_integer", decoy("birth_date", compact_date), int),
    Column("closed_on", "negative/column_date_type", decoy("birth_date", iso_date), date.fromisoformat),
    Column("amount", "negative/column_number", lambda rng: f"{rng.randint(1, 99999)}.{rng.randint(0, 99):02d}"),
    Column("quantity", "negative/column_integer", lambda rng: str(rng.randint(1, 500)), int),
    Column("sha256", "negative/column_digest", hex_digest),
    Column("ndc", "negative/column_code", lambda rng: grouped(digits_behind("0", 11), "-", (5, 4, 2))(rng)),
    Column("first_name", "unclaimed/column", lambda rng: mark("name", rng.choice(FIRST_NAMES))),
    Column("last_name", "unclaimed/column", lambda rng: mark("name", rng.choice(LAST_NAMES))),
    Column("patient", "unclaimed/column", full_name),
    Column("address", "unclaimed/column", street_address),
    Column("city", "unclaimed/column", lambda rng: mark("geographic", rng.choice(CITIES))),
    Column("zip", "unclaimed/column", lambda rng: mark("geographic", random_digits(rng, 5))),
    Column("zip9", "unclaimed/column_integer", of("geographic", digits_behind("6", 9)), int),
    Column("mrn", "unclaimed/column_integer", of("record_number", digits_behind("7", 8)), int),
)  # fmt: skip
"""Columns of personal data, and columns that resemble them."""
