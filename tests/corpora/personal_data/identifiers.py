"""Random numbers of each kind, with their check digits. They are random and belong to nobody that we know of."""

import string
from random import Random

CARD_PREFIXES = (
    ("424242", 16),
    ("411111", 16),
    ("400000", 16),
    ("555555", 16),
    ("510510", 16),
    ("222300", 16),
    ("601111", 16),
    ("356600", 16),
    ("378282", 15),
    ("371449", 15),
)
"""The first six digits of test cards that payment processors publish, with the length."""
IBAN_FORMATS = {
    "DE": "n" * 18,
    "GB": "aaaa" + "n" * 14,
    "NL": "aaaa" + "n" * 10,
    "CH": "n" * 17,
    "AT": "n" * 16,
    "IE": "aaaa" + "n" * 14,
    "LU": "n" * 16,
    "DK": "n" * 14,
}
"""Account formats of countries that have no check digits beside those of the IBAN."""
IBAN_EXAMPLES = (
    "FR1420041010050500013M02606",
    "ES9121000418450200051332",
    "IT60X0542811101000000123456",
    "BE68539007547034",
    "GB29NWBK60161331926819",
    "NL91ABNA0417164300",
)
"""The examples of the IBAN registry."""
MBI_LETTERS = "ACDEFGHJKMNPQRTUVWXY"
MBI_EXAMPLES = ("1EG4TE5MK72", "1EG4TE5MK73")
"""The examples of the Centers for Medicare & Medicaid Services."""
AREA_CODES = ("202", "212", "303", "312", "404", "415", "503", "512", "602", "617", "702", "713", "801", "858", "917")


def random_digits(rng: Random, count: int) -> str:
    """Return random digits."""
    return "".join(rng.choice(string.digits) for _ in range(count))


def luhn_digit(digits: str) -> str:
    """Return the check digit of the Luhn formula."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if index % 2 == 0 else 1)
        total += number - 9 if number > 9 else number
    return str(-total % 10)


def wrong_digit(rng: Random, right: str) -> str:
    """Return a digit that is not the right one."""
    return rng.choice(string.digits.replace(right, ""))


def ssn_parts(rng: Random) -> tuple[str, str, str]:
    """Return area, group and serial of a number that could be issued; a tenth of the areas begins with 0."""
    area = rng.randint(1, 99) if rng.random() < 0.1 else rng.choice([*range(100, 666), *range(667, 900)])
    return f"{area:03d}", f"{rng.randint(1, 99):02d}", f"{rng.randint(1, 9999):04d}"


def impossible_ssn_parts(rng: Random) -> tuple[str, str, str]:
    """Return area, group and serial of a number that is never issued, and that is not a taxpayer number either."""
    area, group, serial = ssn_parts(rng)
    flaw = rng.randint(1, 5)
    if flaw == 4:
        return area, "00", serial
    if flaw == 5:
        return area, group, "0000"
    # Groups of 9xx from 50 up are individual taxpayer numbers, about which two readers could disagree.
    return {1: "000", 2: "666", 3: f"9{rng.randint(0, 99):02d}"}[flaw], f"{rng.randint(1, 49):02d}", serial


def phone_parts(rng: Random) -> tuple[str, str, str]:
    """Return area code, exchange and line of a number that is reserved for fiction."""
    return rng.choice(AREA_CODES), "555", f"01{rng.randint(0, 99):02d}"


def impossible_phone_parts(rng: Random) -> tuple[str, str, str]:
    """Return parts of which the area code or the exchange cannot exist."""
    impossible = rng.choice([f"0{rng.randint(10, 99)}", f"1{rng.randint(10, 99)}", f"{rng.randint(2, 9)}11"])
    line = f"{rng.randint(1000, 9999)}"
    if rng.random() < 0.6:
        return impossible, f"{rng.randint(212, 989)}", line
    return rng.choice(AREA_CODES), impossible, line


def card_digits(rng: Random) -> str:
    """Return the digits of a card number."""
    prefix, length = rng.choice(CARD_PREFIXES)
    body = prefix + random_digits(rng, length - 7)
    return body + luhn_digit(body)


def wrong_card_digits(rng: Random) -> str:
    """Return the digits of a card number with a wrong check digit."""
    digits = card_digits(rng)
    return digits[:-1] + wrong_digit(rng, digits[-1])


def iban_check(country: str, account: str) -> str:
    """Return the two check digits of an IBAN."""
    number = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{98 - int(number) % 97:02d}"


def iban_text(rng: Random) -> str:
    """Return an IBAN without spaces."""
    if rng.random() < 0.15:
        return rng.choice(IBAN_EXAMPLES)
    country = rng.choice(sorted(IBAN_FORMATS))
    account = "".join(
        rng.choice(string.ascii_uppercase) if part == "a" else rng.choice(string.digits)
        for part in IBAN_FORMATS[country]
    )
    return country + iban_check(country, account) + account


def wrong_iban_text(rng: Random) -> str:
    """Return an IBAN with a wrong check."""
    text = iban_text(rng)
    # A check that differs by 1 to 90 modulo 97 is wrong.
    return f"{text[:2]}{(int(text[2:4]) + rng.randint(1, 90)) % 97:02d}{text[4:]}"


def mbi_text(rng: Random) -> str:
    """Return a Medicare beneficiary identifier that is never issued: its second character is S."""
    if rng.random() < 0.05:
        return rng.choice(MBI_EXAMPLES)
    letter = MBI_LETTERS
    either = MBI_LETTERS + string.digits
    parts = (string.digits[1:], "S", either, string.digits, letter, either, string.digits, letter, letter)
    return "".join(rng.choice(part) for part in parts) + random_digits(rng, 2)


def wrong_mbi_text(rng: Random) -> str:
    """Return eleven characters that break the format: a zero in front, or a letter where a digit stands."""
    text = mbi_text(rng)
    if rng.random() < 0.5:
        return "0" + text[1:]
    return text[:3] + rng.choice(MBI_LETTERS) + text[4:6] + rng.choice(MBI_LETTERS) + text[7:]


def npi_digits(rng: Random) -> str:
    """Return a National Provider Identifier; its check digit is that of the number behind 80840."""
    body = rng.choice("12") + random_digits(rng, 8)
    return body + luhn_digit("80840" + body)


def wrong_npi_digits(rng: Random) -> str:
    """Return ten digits with a wrong check digit."""
    digits = npi_digits(rng)
    return digits[:-1] + wrong_digit(rng, digits[-1])
