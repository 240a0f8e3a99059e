"""The corpus keeps its size and its digest, and each label obeys the rules of its kind, written here once more."""

import dataclasses
import hashlib
import ipaddress
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

import pytest

from tests.corpora.personal_data.corpus import build_corpus
from tests.corpora.personal_data.items import CLAIMED, UNCLAIMED, Item

SEED = 20261130
DIGEST = "86ec2faa28f497e8484a2bd195f5b1edeb42dbdb2bea1eccb2068c7caefe12ad"
"""Of all fields of all items. A change of the corpus changes it, and the figures that were measured on it."""
ITEMS = build_corpus(SEED)
TEXTS = [item for item in ITEMS if item.column is None]
DATE_FORMATS = (
    "%Y-%m-%d %Y/%m/%d %m/%d/%Y %m/%d/%y %m-%d-%Y %m-%d-%y %d.%m.%Y %Y_%m_%d %m_%d_%Y %d%b%y %d%b%Y %d-%b-%Y "
    "%Y%m%d %m%d%Y"
).split()
WORD_DATE_FORMATS = ("%m %d %Y", "%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y", "%d of %B %Y")


def plain(text: str) -> str:
    """Return what a reader sees: without invisible characters, in ASCII digits and hyphens, in one line."""
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    text = re.sub("[\u2010-\u2015\u2212]", "-", unicodedata.normalize("NFKC", text))
    return re.sub(r"(?<=-)\s+(?=\w)|\s*-\s*(?=\w)", lambda match: match[0].strip(), re.sub(r"\s+", " ", text))


def digits_of(text: str) -> str:
    return re.sub(r"\D", "", plain(text))


def passes_luhn(digits: str) -> bool:
    doubled = (sum(divmod(int(digit) * 2, 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_possible_ssn(digits: str) -> bool:
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return len(digits) == 9 and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_fictional_phone(text: str) -> bool:
    digits = digits_of(text)
    foreign = r"442079460\d{3}|6125550\d{4}|3319900\d{4}|493023125\d{3}|3532091\d{5}"
    national = r"1?([2-9](?!11)\d\d)55501\d\d"
    is_foreign = plain(text).startswith("+") and not digits.startswith("1")
    return re.fullmatch(foreign if is_foreign else national, digits) is not None


def is_iban(text: str) -> bool:
    compact = re.sub(r"[ -]", "", plain(text)).upper()
    rearranged = "".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])
    return re.fullmatch(r"[A-Z]{2}\d\d[A-Z0-9]{10,30}", compact) is not None and int(rearranged) % 97 == 1


def is_mbi(text: str) -> bool:
    compact = re.sub(r"[ -]", "", plain(text)).upper()
    letter = "[AC-HJKMNP-RT-Y]"
    form = rf"[1-9]S{letter[:-1]}0-9]\d{letter}{letter[:-1]}0-9]\d{letter}{{2}}\d\d"
    return re.fullmatch(form, compact) is not None or compact in ("1EG4TE5MK72", "1EG4TE5MK73")


def is_npi(text: str) -> bool:
    return re.fullmatch(r"[12]\d{9}", plain(text)) is not None and passes_luhn("80840" + plain(text))


def is_ip_address(text: str) -> bool:
    return ipaddress.ip_address(text) is not None


def is_email(text: str) -> bool:
    form = r"[\w.+'-]+@([a-z0-9-]+\.)*(example\.(com|org|net)|[a-z]+\.test)"
    return re.fullmatch(form, plain(text), re.IGNORECASE) is not None


def is_url(text: str) -> bool:
    parts = urlsplit(text if "://" in text else f"https://{text}")
    host = (parts.hostname or "").removeprefix("www.")
    named = host.endswith(("example.com", "example.org", "example.net", ".test"))
    return parts.scheme in ("http", "https", "ftp") and (named or is_ip_address(host))


def is_birth_date(text: str) -> bool:
    value = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", plain(text), flags=re.IGNORECASE)
    value = re.sub(r"[.,](?= )", "", value)
    for form in (*DATE_FORMATS, *WORD_DATE_FORMATS):
        try:
            return datetime.strptime(value, form).year > 1900
        except ValueError:
            continue
    return False


RULES: dict[str, Callable[[str], bool]] = {
    "ssn": lambda text: is_possible_ssn(digits_of(text).zfill(9)),
    "phone": is_fictional_phone,
    "email": is_email,
    "card": lambda text: len(digits_of(text)) in (15, 16) and passes_luhn(digits_of(text)),
    "iban": is_iban,
    "ip_address": is_ip_address,
    "url": is_url,
    "birth_date": is_birth_date,
    "mbi": is_mbi,
    "npi": is_npi,
}


def is_refuted(kind: str, text: str) -> bool:
    """Tell whether a decoy breaks a rule of its kind, so that no word in front is needed to see what it is not."""
    digits = digits_of(text)
    match kind:
        case "ssn":
            return not is_possible_ssn(digits)
        case "phone":
            return re.fullmatch(r"1?[2-9](?!11)\d\d[2-9](?!11)\d{6}", digits) is None
        case "card":
            return not passes_luhn(digits) or not 13 <= len(digits) <= 19 or re.search("[A-Z]", text) is not None
        case "iban":
            return not is_iban(text)
        case "npi":
            return not is_npi(text)
        case "mbi":
            return not is_mbi(text)
        case "email":
            return re.search(r"@[\w-]+(\.[a-z]+)+\b", text, re.IGNORECASE) is None or "." not in text.partition("@")[2]
        case "url":
            return "://" not in text and not text.lower().startswith("www.")
        case _:
            return False


def labels(items: list[Item]) -> list[tuple[Item, str, str]]:
    return [(item, kind, item.text[start:end]) for item in items for kind, start, end in item.spans]


def test_corpus_is_deterministic_and_has_its_digest():
    again = build_corpus(SEED)
    assert again == ITEMS
    lines = [json.dumps([*dataclasses.astuple(item)[:-1], repr(item.value)]) for item in ITEMS]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == DIGEST


def test_another_seed_makes_another_corpus_of_the_same_groups():
    other_seed = build_corpus(SEED + 1)
    assert {item.text for item in other_seed if len(item.text) > 20}.isdisjoint(
        {item.text for item in TEXTS if item.group.startswith("mixed/")}
    )
    assert {item.group for item in other_seed} == {item.group for item in ITEMS}


def test_corpus_has_its_size():
    claimed = [kind for _, kind, _ in labels(TEXTS) if kind in CLAIMED]
    assert len(claimed) >= 3600
    assert len(TEXTS) >= 1500
    assert min(Counter(claimed).values()) >= 300
    assert sum(len(item.decoys) for item in TEXTS) >= 3000
    assert len({item.column for item in ITEMS} - {None}) >= 60
    assert {kind for _, kind, _ in labels(ITEMS)} == {*CLAIMED, *UNCLAIMED}


def test_labels_and_decoys_lie_in_the_text_and_do_not_overlap():
    for item in ITEMS:
        end = 0
        for kind, start, stop in sorted((*item.spans, *item.decoys), key=lambda span: span[1]):
            assert end <= start < stop <= len(item.text), (kind, item)
            assert item.text[start:stop].strip() == item.text[start:stop]
            end = stop


@pytest.mark.parametrize("kind", CLAIMED)
def test_each_label_obeys_the_rules_of_its_kind(kind: str):
    failures = [(item.group, text) for item, name, text in labels(ITEMS) if name == kind and not RULES[kind](text)]
    assert failures == []


@pytest.mark.parametrize("kind", CLAIMED)
def test_each_decoy_breaks_a_rule_or_has_a_word_in_front(kind: str):
    for item in ITEMS:
        for name, start, end in item.decoys:
            if name != kind or is_refuted(kind, item.text[start:end]):
                continue
            words = item.column or item.text[:start].split("\n")[-1]
            assert re.search(r"[a-zA-Z§][.:]* ?#?:?\s*$", words), (item.text, item.text[start:end])


def test_values_of_a_column_are_those_of_its_text():
    for item in ITEMS:
        assert item.column is not None or item.value is None
        if item.value is not None:
            assert str(item.value) == item.text


def test_nothing_outside_of_labels_and_decoys_has_a_claimed_shape():
    shapes = re.compile(r"\d{3}-\d\d-\d{4}|\d{3}[-. ]\d{3}[-. ]\d{4}|\d{9}|[\w.]+@\w+\.\w|://|\b\d+\.\d+\.\d+\.\d+")
    for item in TEXTS:
        rest = list(item.text)
        for _, start, end in (*item.spans, *item.decoys):
            rest[start:end] = "\0" * (end - start)
        assert shapes.search("".join(rest)) is None, item
