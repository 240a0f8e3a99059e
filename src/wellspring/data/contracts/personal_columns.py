"""Find columns that a contract lets leave although their name or classification says that they hold personal data.

It reads names and descriptions. A name in the file is the vendor's, so the author of a contract cannot choose it; what
a column `c7` holds, it cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from wellspring.data.contracts.columns import prefix_length
from wellspring.records.contracts import ContractColumn, DataContract

_PEOPLE = (
    r"member|patient|subscriber|employee|person|insured|spouse|dependent|customer|client|contact|user|guarantor"
    r"|beneficiary|sender|recipient|driver|guest|owner|agent|mother|father|parent|doctor|physician|nurse|applicant"
    r"|student|tenant|buyer|seller|caller|holder"
)
_NAME = (
    rf"^names?$|(^|_)(first|last|middle|full|given|family|maiden|birth|legal|display|nick|preferred|{_PEOPLE})_?names?"
    r"[0-9]*$|(^|_)(surname|forename|fname|lname|maiden|initials)[0-9]*$"
)
_ADDRESS = (
    r"addr(ess)?(_?(line|no|number))?_?[0-9]*$"
    r"|(^|_)(street|house_?(no|nr|number)|apt|apartment|suite|po_?box)[0-9]*($|_)"
)
_CONTACT = r"(^|_)(e?_?mail|phone|telephone|tel|mobile|cell|fax)(_?(no|nr|number))?[0-9]*$"
_NUMBER = r"(^|_)(ssn|itin|mrn|mbi|iban|passport|social_security|driving_licen[cs]e|tax_id)(_?(no|nr|number))?[0-9]*$"
_FREE_TEXT = r"(^|_)(notes?|comments?|remarks?|messages?|free_?text|narrative|memo)[0-9]*$"
_POSTCODE = r"(^|_)(zip|postcode|post_?code|postal_?code|zip_?code)[0-9]*$"
_KINDS = {
    "names": _NAME, "addresses": _ADDRESS, "ways to reach a person": _CONTACT, "numbers of persons": _NUMBER,
    "free text": _FREE_TEXT,
}  # fmt: skip
_NAMED_PEOPLE = rf"(^|_)names?_of_(a|an|the)_({_PEOPLE})($|_)"
_NAMES_IN_PROSE = {kind: pattern for kind, pattern in _KINDS.items() if kind != "free text"}
_LISTED_KINDS = {"names", "addresses"}
"""What a list of valid values can hold without digits; `email` with the values yes and no holds answers."""
_PERSONAL_CLASSIFICATIONS = {"contact", "restricted", "free_text"}


class PersonalColumn(NamedTuple):
    """A column that leaves, and why it must not. reason: the rest of a sentence that begins with its name."""

    name: str
    reason: str


def find_personal_columns(
    contract: DataContract, find_column_kind: Callable[[str], str] = lambda name: ""
) -> Iterator[PersonalColumn]:
    """List the columns that leave as plain text or as a prefix, and hold personal data by their name or classification.

    find_column_kind: of the project's detectors, the kind of numbers that a column holds by its name; '' for none. No
    other type than text can hold a name. A list of valid values does not make a column of names harmless: it would list
    the persons whose rows leave.
    """
    for column in contract.columns:
        is_prefix = prefix_length(column.egress) is not None
        if column.type != "string" or not (column.egress == "plain" or is_prefix):
            continue
        reason = _explain(column, find_column_kind, is_prefix=is_prefix)
        if reason:
            yield PersonalColumn(column.name, f"{reason}, and leaves as {column.egress}")


def _explain(column: ContractColumn, find_column_kind: Callable[[str], str], *, is_prefix: bool) -> str:
    # The name in the file is the vendor's, and cannot be chosen by the author of a contract.
    name_in_file = column.name_in_file.rpartition(".")[2]
    names = {_normalize_name(name) for name in (column.name, name_in_file, column.title or "")}
    has_answers = bool(column.enum) and not any(re.search("[0-9@]", value) for value in column.enum)
    for kind, pattern in _KINDS.items():
        if any(re.search(pattern, name) for name in names) and (kind in _LISTED_KINDS or not has_answers):
            return f"holds {kind} by its name"
    if has_answers:
        return ""
    if not is_prefix and any(re.search(_POSTCODE, name) for name in names):
        return "holds addresses by its name"
    for name in sorted(names):
        if kind := find_column_kind(name):
            return f"holds {kind} by its name"
    if column.enum:
        return ""
    if not is_prefix and column.classification in _PERSONAL_CLASSIFICATIONS:
        return f"is classified as {column.classification}"
    if kind := _find_kind_in_prose(column.description or ""):
        return f"holds {kind} by its description"
    return ""


def _find_kind_in_prose(description: str) -> str:
    """Return the kind of personal data that two or three words of a description name, or ''."""
    prose = _normalize_name(description)
    words = prose.split("_")
    phrases = ["_".join(words[start : start + size]) for size in (2, 3) for start in range(len(words) - size + 1)]
    for kind, pattern in _NAMES_IN_PROSE.items():
        if any(re.search(pattern, phrase) for phrase in phrases):
            return kind
    return "names" if re.search(_NAMED_PEOPLE, prose) else ""


def _normalize_name(name: str) -> str:
    """Convert a name of a column to snake case: `CustomerName` -> `customer_name`, `Last Name` -> `last_name`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", "_", name.strip())
    return parted.strip("_").lower()
