"""Phrases with text that has the shape of a claimed kind and is not of it."""

import string
from collections.abc import Callable
from random import Random

from tests.corpora.personal_data.identifiers import (
    impossible_phone_parts,
    impossible_ssn_parts,
    luhn_digit,
    phone_parts,
    random_digits,
    ssn_parts,
    wrong_card_digits,
    wrong_digit,
    wrong_iban_text,
    wrong_mbi_text,
    wrong_npi_digits,
)
from tests.corpora.personal_data.items import mark_decoy
from tests.corpora.personal_data.numbers import Spelling, grouped
from tests.corpora.personal_data.people import random_letters, recent_date

BUSINESS_WORDS = (
    "order ", "order no. ", "Order #", "claim no. ", "claim number ", "Claim #: ", "invoice ", "inv. no. ",
    "tracking number ", "tracking # ", "part no. ", "part number ", "PO ", "ticket ", "ticket #", "SKU ", "item no. ",
    "serial no. ", "batch ", "quote no. ", "lot ", "case number ",
)  # fmt: skip
NEUTRAL_WORDS = ("the form shows ", "entry reads ", "system rejected ", "placeholder ", "line 7 has ", "typed ")
VERSION_WORDS = ("v", "version ", "build ", "firmware ", "release ", "driver version ", "upgraded to v", "ver. ")
DATE_WORDS = (
    "due ", "due date ", "invoice date ", "posted ", "effective ", "statement of ", "printed on ", "paid ", "expires ",
    "call back by ", "policy start ", "filed ", "received ", "as of ", "newsletter of ", "see bulletin of ",
)  # fmt: skip
FALSE_LABELS = (
    "DOB missing, form received ", "DOB not given; letter sent ", "newborn screening program started ",
    "Osborn Clinic contract of ", "airborne precautions lifted ", "birth certificate form revised ",
    "stubborn backlog since ", "rebirth of the site on ",
)  # fmt: skip


def worded(kind: str, words: tuple[str, ...], value: Spelling) -> Spelling:
    """Put a word in front that says what a value is."""
    return lambda rng: rng.choice(words) + mark_decoy(kind, value(rng))


def joined_parts(parts: Callable[[Random], tuple[str, ...]], separators: tuple[str, ...]) -> Spelling:
    """Join the parts of a number with one of the separators."""
    return lambda rng: rng.choice(separators).join(parts(rng))


def in_chain(rng: Random) -> str:
    """Return a part number of which a piece has the form of a social security number."""
    number = "-".join(ssn_parts(rng))
    return rng.choice(
        [f"{random_digits(rng, 2)}-{number}-{random_digits(rng, 1)}", f"{number}-{random_digits(rng, 3)}"]
    )


def long_digits(rng: Random) -> str:
    """Return eleven to thirty digits, none of which makes a card number."""
    body = "9" + random_digits(rng, rng.choice([9, 10, 16, 18, 20, 28]))
    return body + wrong_digit(rng, luhn_digit(body))


def isbn_text(rng: Random) -> str:
    """Return an ISBN with a valid check digit; as a card number its check digit is wrong."""
    body = "9780" + random_digits(rng, 8)
    check = str(-sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(body)) % 10)
    if check == luhn_digit(body):
        return isbn_text(rng)
    digits = body + check
    return f"{digits[:3]}-{digits[3]}-{digits[4:7]}-{digits[7:12]}-{digits[12]}"


def broken_ipv4(rng: Random) -> str:
    """Return four numbers of which one is over 255."""
    return f"{rng.randint(1, 223)}.{rng.randint(256, 999)}.{rng.randint(0, 99)}.{rng.randint(0, 99)}"


def number_chain(rng: Random, count: int) -> str:
    """Return small numbers with dots between."""
    return ".".join(str(rng.randint(0, 12)) for _ in range(count))


def clock_time(rng: Random) -> str:
    """Return a time of day."""
    return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}"


def wrong_individual_digits(rng: Random) -> str:
    """Return ten digits with a wrong check digit; the 1 in front cannot begin a telephone number of ten digits."""
    body = "1" + random_digits(rng, 8)
    return body + wrong_digit(rng, luhn_digit("80840" + body))


def coordinates(rng: Random) -> str:
    """Return a latitude and a longitude."""
    return f"{rng.randint(25, 48)}.{random_digits(rng, 4)}, -{rng.randint(70, 120)}.{random_digits(rng, 4)}"


def diagnosis_code(rng: Random) -> str:
    """Return a code of the form of ICD-10."""
    return f"{rng.choice(string.ascii_uppercase)}{random_digits(rng, 2)}.{random_digits(rng, 3)}"


def hex_digest(rng: Random) -> str:
    """Return a hexadecimal digest."""
    return "".join(rng.choice(string.hexdigits[:16]) for _ in range(rng.choice([32, 40, 64])))


def account_without_domain(rng: Random) -> str:
    """Return a number that looks like a mail address without a domain."""
    name = rng.choice(["root", "deploy", "postgres", "batch"])
    return rng.choice(
        [
            f"{name}@localhost",
            f"{name}@build{rng.randint(1, 40)}",
            f"lodash@4.{rng.randint(1, 17)}.{rng.randint(0, 21)}",
        ]
    )


NEGATIVES: dict[str, Spelling] = {
    "ssn/business_number": worded("ssn", BUSINESS_WORDS, joined_parts(ssn_parts, ("-", "-", " ", "_"))),
    "ssn/business_number_plain": worded("ssn", BUSINESS_WORDS, joined_parts(ssn_parts, ("",))),
    "ssn/impossible": worded("ssn", NEUTRAL_WORDS, joined_parts(impossible_ssn_parts, ("-", "-", " "))),
    "ssn/chain": worded("ssn", BUSINESS_WORDS, in_chain),
    "ssn/employer_number": lambda rng: f"EIN {mark_decoy('ssn', f'{random_digits(rng, 2)}-{random_digits(rng, 7)}')}",
    "ssn/product_code": lambda rng: (
        f"NDC {mark_decoy('ssn', f'{random_digits(rng, 5)}-{random_digits(rng, 4)}-{random_digits(rng, 2)}')}"
    ),
    "ssn/last_four": lambda rng: f"SSN ending {mark_decoy('ssn', random_digits(rng, 4))}",
    "ssn/masked": lambda rng: f"SSN {mark_decoy('ssn', f'***-**-{random_digits(rng, 4)}')}",
    "phone/business_number": worded("phone", BUSINESS_WORDS, joined_parts(phone_parts, ("-", "-", " ", "."))),
    "phone/business_number_plain": worded("phone", BUSINESS_WORDS, joined_parts(phone_parts, ("",))),
    "phone/impossible": worded("phone", NEUTRAL_WORDS, joined_parts(impossible_phone_parts, ("-", ".", " "))),
    "phone/impossible_brackets": lambda rng: (
        rng.choice(NEUTRAL_WORDS) + mark_decoy("phone", "({}) {}-{}".format(*impossible_phone_parts(rng)))
    ),
    "phone/money": lambda rng: (
        f"total {mark_decoy('phone', f'${rng.randint(1, 999)},{rng.randint(100, 999)}.{rng.randint(0, 99):02d}')}"
    ),
    "phone/coordinates": worded("phone", ("GPS ", "lat/long "), coordinates),
    "phone/quantity": lambda rng: (
        f"qty {mark_decoy('phone', f'{rng.randint(100, 999)} x {rng.randint(100, 999)}')} units"
    ),
    "card/wrong_check": worded("card", BUSINESS_WORDS, grouped(wrong_card_digits, "")),
    "card/wrong_check_groups": worded(
        "card", NEUTRAL_WORDS, lambda rng: grouped(wrong_card_digits, rng.choice(" -"))(rng)
    ),
    "card/long_number": worded("card", BUSINESS_WORDS, long_digits),
    "card/isbn": lambda rng: f"ISBN {mark_decoy('card', isbn_text(rng))}",
    "card/parcel": lambda rng: f"UPS {mark_decoy('card', '1Z' + random_letters(rng, 6) + random_digits(rng, 10))}",
    "iban/wrong_check": worded("iban", NEUTRAL_WORDS, lambda rng: grouped(wrong_iban_text, rng.choice(["", " "]))(rng)),
    "iban/tax_number": lambda rng: f"VAT ID {mark_decoy('iban', 'DE' + random_digits(rng, 9))}",
    "ip_address/version": worded("ip_address", VERSION_WORDS, lambda rng: number_chain(rng, 4)),
    "ip_address/over_255": worded("ip_address", NEUTRAL_WORDS, broken_ipv4),
    "ip_address/object_id": worded("ip_address", ("OID ", "section "), lambda rng: "1.3." + number_chain(rng, 4)),
    "ip_address/three_parts": worded("ip_address", VERSION_WORDS, lambda rng: number_chain(rng, 3)),
    "ip_address/section": worded("ip_address", ("section ", "clause ", "§ "), lambda rng: number_chain(rng, 4)),
    "ip_address/time": worded("ip_address", ("at ", "ended ", "elapsed "), clock_time),
    "ip_address/scope": worded("ip_address", ("in ", "error in "), lambda rng: rng.choice(["std::map", "Job::run"])),
    "ip_address/ratio": worded(
        "ip_address", ("ratio ", "mix "), lambda rng: f"1:{rng.randint(2, 9)}:{rng.randint(2, 9)}"
    ),
    "email/no_domain": worded("email", ("run as ", "user ", "installed "), account_without_domain),
    "email/sign": worded(
        "email",
        ("ping ", "posted by ", "see "),
        lambda rng: rng.choice(["@channel", "@nurse_desk1", "jane@", "@app.route", "5 @ $3.20", "lunch @ noon"]),
    ),
    "url/file": worded(
        "url",
        ("attached ", "file ", "see "),
        lambda rng: rng.choice(
            ["scan_{}.final.pdf", "/var/log/app-{}.log", "C:\\drop\\in{}.csv", "report.{}.xlsx"]
        ).format(rng.randint(1, 9999)),
    ),
    "url/word": worded(
        "url",
        ("uses ", "returned ", "talks "),
        lambda rng: rng.choice(["node.js", "HTTP/1.1", "https only", "and/or", "http 503", "pandas.read_csv", "www"]),
    ),
    "birth_date/business_date": worded("birth_date", DATE_WORDS, recent_date),
    "birth_date/business_date_again": worded("birth_date", DATE_WORDS, recent_date),
    "birth_date/false_label": worded("birth_date", FALSE_LABELS, recent_date),
    "birth_date/bare": worded("birth_date", ("note of ", "Re: ", "log "), recent_date),
    "birth_date/old": worded(
        "birth_date", ("founded ", "bylaws of ", "deed of "), lambda rng: f"06/15/{rng.randint(1930, 1999)}"
    ),
    "mbi/wrong_format": worded("mbi", BUSINESS_WORDS, wrong_mbi_text),
    "mbi/wrong_format_groups": worded("mbi", BUSINESS_WORDS, grouped(wrong_mbi_text, "-", (4, 3, 4))),
    "mbi/digest": worded("mbi", ("sha256 ", "digest ", "commit "), hex_digest),
    "mbi/diagnosis": worded("mbi", ("dx ", "ICD-10 "), diagnosis_code),
    "npi/wrong_check": worded("npi", BUSINESS_WORDS, wrong_npi_digits),
    "npi/wrong_check_neutral": worded("npi", NEUTRAL_WORDS, wrong_individual_digits),
    "npi/procedure": lambda rng: f"CPT {mark_decoy('npi', f'99{random_digits(rng, 3)}')} x{rng.randint(1, 4)}",
}
"""A phrase with a decoy, for each shape that resembles a claimed kind."""
