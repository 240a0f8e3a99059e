"""A writer of Parquet, for the suite of formats."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TYPES = {"count": pa.int64(), "paid": pa.decimal128(12, 2), "open": pa.bool_()}


def write_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Write typed columns."""
    out = io.BytesIO()
    columns = {name: pa.array([row[name] for row in rows], TYPES.get(name, pa.string())) for name in rows[0]}
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


BUILDER = write_parquet
