"""The people to search for, and the spellings of their identifiers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

STRIPPED = b" -.()/_+'\t\x00"
"""Characters removed before a comparison, so that 912-34-5678 equals 912 34 5678 and UTF-16 equals plain text."""


@dataclass(frozen=True)
class Person:
    """One planted person. Empty fields are not looked for; every other one must be distinctive."""

    first: str = ""
    last: str = ""
    ssn: str = ""
    mbi: str = ""
    phone: str = ""
    email: str = ""
    member_id: str = ""
    person_id: str = ""
    address: str = ""
    birth_date: str = ""

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}".strip()

    @classmethod
    def of(cls, planted: Any) -> Person:
        """Take over a planted person of the example's population."""
        return cls(
            first=planted.first_name,
            last=planted.last_name,
            ssn=planted.social_security_number,
            mbi=planted.medicare_beneficiary_identifier,
            phone=planted.phone,
            email=planted.email,
            member_id=planted.member_id,
            person_id=planted.person_id,
            address=planted.address,
        )


def strip(hay: bytes) -> bytes:
    """Write a haystack, or a needle, the way that they are compared."""
    return hay.lower().translate(None, STRIPPED)


def needles(people: list[Person]) -> list[tuple[bytes, int, str]]:
    """List what to look for: (stripped bytes, the person's place in the list, the field)."""
    matches: dict[tuple[bytes, int], str] = {}
    for place, person in enumerate(people):
        spelt = [(field.name, str(getattr(person, field.name))) for field in fields(person)]
        if person.first and person.last:
            spelt = [("name", person.name), ("name", f"{person.last}, {person.first}"), *spelt]
            spelt.append(("name", f"{person.last} {person.first}"))
        if person.birth_date:
            year, month, day = person.birth_date.split("-")
            # Stripped, both are eight bare digits: in ten million random digits, one in ten is a false alarm.
            spelt = [item for item in spelt if item[0] != "birth_date"]
            spelt += [("birth_date", f"{month}{day}{year}"), ("birth_date", f"{year}{month}{day}")]
        for what, text in spelt:
            needle = strip(text.encode())
            if needle and len(needle) < 5:
                raise ValueError(f"{what} of person {place} is too short to look for: it would be found everywhere")
            if needle:
                matches.setdefault((needle, place), what)
    return [(needle, place, what) for (needle, place), what in matches.items()]
