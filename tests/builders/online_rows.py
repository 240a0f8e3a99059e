"""Rows of two views, for tests of the online store."""

from __future__ import annotations

import pyarrow as pa

from tests.builders.feature_views import instant, rows, token, view, views
from wellspring.stores.online.port import OnlineWriter

MEMBERS, CLAIMS = view(), view("member_claims", {"denials": "float64", "open": "int64"})
ALL = views(MEMBERS, CLAIMS)
ANN = (token(1),)


def member_rows(denials: int | None, second: float = 0, sequence: int = 0, number: int = 1) -> pa.Table:
    result = {"member_id": token(number), "denials": denials, "known_since": instant(second), "sequence": sequence}
    return rows(MEMBERS, [result])


def denials(writer: OnlineWriter) -> object:
    row = writer.read_row(MEMBERS, ANN)
    assert row is not None
    return row.values["denials"]
