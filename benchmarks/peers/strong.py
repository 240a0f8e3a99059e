"""The strong peer: polars and pyiceberg, everything by column, nothing proved.

It checks the same promises and makes tokens of the same strength. It keeps no original, looks for no personal data, has
no wall between who sees people and who does not, reads nothing back, keeps no log; bad rows go to a file.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.job import Job, append, fetch, contracts, run


def work(job: Job, reached: Callable[[str], None]) -> tuple[int, int]:
    """Bring one file in. Returns how many rows were kept and rejected."""
    import polars as pl

    result = contracts(Path(job.contract))
    content = fetch(job)
    reached("fetch")
    text = pl.read_csv(io.BytesIO(content), infer_schema=False)
    typed = text.select(_typed(name, kind) for name, kind in result.types.items())
    reached("parse")
    bad = [pl.col(name).is_null() for name in result.required]
    bad += [~pl.col(name).is_in(values) for name, values in result.enums.items()]
    bad += [~pl.col(name).str.contains(pattern) for name, pattern in result.patterns.items()]
    for name, (low, high) in result.ranges.items():
        kind = result.types[name]
        bad.append(~pl.col(name).is_between(_bound(low, kind), _bound(high, kind)))
    bad += [~pl.sql_expr(rule) for rule in result.rules.values()]
    bad.append(pl.struct(result.key).is_duplicated())
    broken = typed.select(pl.any_horizontal(item.fill_null(False) for item in bad)).to_series()
    # What no type takes became null: that is a breach too, wherever the text was not empty.
    for name, kind in result.types.items():
        if kind != "string":
            broken = broken | (typed[name].is_null() & text[name].is_not_null())
    text.filter(broken).write_parquet(Path(job.lake) / "rejected.parquet")
    good = typed.filter(~broken)
    reached("check")
    good = good.drop(result.left_out).with_columns(
        _tokens(good[name], domain, job.secret.encode()) for name, domain in result.tokens.items()
    )
    reached("tokens")
    append(job, good.to_arrow(compat_level=pl.CompatLevel.oldest()))
    reached("append")
    return good.height, int(broken.sum())


def _typed(name: str, kind: str) -> Any:
    """Cast one column; what no type takes becomes null."""
    import polars as pl

    match kind:
        case "decimal":
            return pl.col(name).cast(pl.Decimal(12, 2), strict=False)
        case "integer":
            return pl.col(name).cast(pl.Int64, strict=False)
        case "date":
            return pl.col(name).str.to_date("%Y-%m-%d", strict=False)
        case "timestamp":
            return pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", strict=False)
        case "boolean":
            return pl.col(name).replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
        case _:
            return pl.col(name)


def _bound(end: Any, kind: str) -> Any:
    read = {"date": date.fromisoformat, "timestamp": datetime.fromisoformat}.get(kind)
    return read(end) if read else end


def _tokens(column: Any, domain: str, secret: bytes) -> Any:
    """Hash each distinct value once."""
    import polars as pl

    values = column.drop_nulls().unique()
    key = hmac.digest(secret, domain.encode(), hashlib.sha256)
    built = [f"{domain}_{hmac.digest(key, value.encode(), hashlib.sha256)[:16].hex()}" for value in values.to_list()]
    return column.replace_strict(values, pl.Series(built, dtype=pl.String), default=None, return_dtype=pl.String)


if __name__ == "__main__":
    sys.exit(run(work, "polars", "pyiceberg.catalog.sql", "asyncssh", "yaml"))
