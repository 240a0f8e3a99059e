"""An item of the corpus, and the markup from which it is made."""

import datetime
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

CLAIMED = ("ssn", "phone", "email", "card", "iban", "ip_address", "url", "birth_date", "mbi", "npi")
"""The structured kinds that the platform claims to find."""
UNCLAIMED = (
    "name",
    "street_address",
    "record_number",
    "account_number",
    "license_number",
    "plate",
    "device_id",
    "vin",
    "other_date",
    "age_over_89",
    "geographic",
)
"""Kinds of HIPAA's list that the platform does not claim; they are labelled so that the distance can be reported."""

OPEN, MIDDLE, CLOSE = "\ue000", "\ue001", "\ue002"
MARKUP = re.compile(f"{OPEN}([a-z0-9_!]+){MIDDLE}([^{OPEN}{MIDDLE}{CLOSE}]*){CLOSE}")

Span = tuple[str, int, int]
Value = str | int | datetime.date


@dataclass(frozen=True)
class Item:
    """A text, or one value of a column, with its labels.

    `decoys` are places that resemble a claimed kind (the first field) and must not be found as that kind. They are not
    complete: whatever `spans` does not name is a negative. `value` is what the column holds, or None where
    it holds nothing.
    """

    text: str
    spans: tuple[Span, ...]
    column: str | None
    group: str
    decoys: tuple[Span, ...] = ()
    value: Value | None = None


def mark(kind: str, text: str) -> str:
    """Label a piece of a text in markup."""
    return f"{OPEN}{kind}{MIDDLE}{text}{CLOSE}"


def mark_decoy(kind: str, text: str) -> str:
    """Note in markup that a piece of a text resembles a kind and is not of it."""
    return mark(f"!{kind}", text)


def transform(markup: str, change: Callable[[str], str]) -> str:
    """Change the text of markup, and leave the labels."""
    parts = re.split(f"({OPEN}[a-z0-9_!]+{MIDDLE}|{CLOSE})", markup)
    return "".join(part if index % 2 else change(part) for index, part in enumerate(parts))


def decompose(text: str) -> str:
    """Return the text in NFD: a letter with an accent becomes two characters."""
    return unicodedata.normalize("NFD", text)


def build_item(markup: str, group: str, column: str | None = None, convert: Callable[[str], Value] = str) -> Item:
    """Make an item of markup; `convert` makes the value of a column from its text."""
    text, spans, decoys, end = "", [], [], 0
    for match in MARKUP.finditer(markup):
        text += markup[end : match.start()]
        span = (match[1].removeprefix("!"), len(text), len(text) + len(match[2]))
        (decoys if match[1].startswith("!") else spans).append(span)
        text += match[2]
        end = match.end()
    text += markup[end:]
    value = convert(text) if column is not None and text else None
    return Item(text, tuple(spans), column, group, tuple(decoys), value)
