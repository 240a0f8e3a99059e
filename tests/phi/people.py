"""Planted people, and files that hold them."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from tests.phi.search import Person

ZQURO = Person(
    first="Zqurantho",
    last="Xvolembri",
    ssn="912-34-5678",
    mbi="1SG4TE5MK73",
    phone="212-555-0147",
    email="zqurantho.xvolembri107@example.com",
    member_id="WSP000918273",
    person_id="P0012345678",
    address="77 Vzidostru Street",
    birth_date="1951-03-09",
)
SECOND = Person(first="Jxethessu", last="Qyakwilmo", ssn="955-21-0043", member_id="WSP555000111")
PEOPLE = [SECOND, ZQURO]
FILLER = " ".join(f"row {number} of nothing in particular" for number in range(200)).encode()


def line(person: Person) -> str:
    return f"seen: {person.name}, {person.ssn}\n"


def table(value: Any) -> pa.Table:
    return pa.table({"n": list(range(50)), "note": ["clean"] * 25 + [value] + ["clean"] * 24})


def parquet(value: Any, *, codec: str = "zstd", dictionary: bool = True) -> bytes:
    out = io.BytesIO()
    pq.write_table(table(value), out, compression=codec, use_dictionary=dictionary)
    return out.getvalue()
