"""The strong peer: polars and pyiceberg, column by column, without proof.

It checks the same contract and makes tokens of the same strength. It stores no original, searches for no personal data,
has no separate process for personal data, reads nothing back and writes no log; rejected rows go to a file.
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

from benchmarks.peers.job import Job, append_table, fetch_file, read_contract_rules, run_peer


def ingest_file(job: Job, finish_part: Callable[[str], None]) -> tuple[int, int]:
    """Ingest one file. Returns the counts of accepted and rejected rows."""
    import polars as pl

    contract = read_contract_rules(Path(job.contract))
    content = fetch_file(job)
    finish_part("fetch")
    text = pl.read_csv(io.BytesIO(content), infer_schema=False)
    typed = text.select(_typed(name, kind) for name, kind in contract.types.items())
    finish_part("parse")
    bad = [pl.col(name).is_null() for name in contract.required]
    bad += [~pl.col(name).is_in(values) for name, values in contract.enums.items()]
    bad += [~pl.col(name).str.contains(pattern) for name, pattern in contract.patterns.items()]
    for name, (low, high) in contract.ranges.items():
        kind = contract.types[name]
        bad.append(~pl.col(name).is_between(_bound(low, kind), _bound(high, kind)))
    bad += [~pl.sql_expr(rule) for rule in contract.rules.values()]
    bad.append(pl.struct(contract.key).is_duplicated())
    broken = typed.select(pl.any_horizontal(condition.fill_null(False) for condition in bad)).to_series()
    # A failed cast became null, which is a violation wherever the text was not empty.
    for name, kind in contract.types.items():
        if kind != "string":
            broken = broken | (typed[name].is_null() & text[name].is_not_null())
    text.filter(broken).write_parquet(Path(job.lake) / "rejected.parquet")
    good = typed.filter(~broken)
    finish_part("check")
    good = good.drop(contract.left_out).with_columns(
        _tokens(good[name], domain, job.secret.encode()) for name, domain in contract.tokens.items()
    )
    finish_part("tokens")
    append_table(job, good.to_arrow(compat_level=pl.CompatLevel.oldest()))
    finish_part("append")
    return good.height, int(broken.sum())


def _typed(name: str, kind: str) -> Any:
    """Cast one column; values that cannot be cast become null."""
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
    sys.exit(run_peer(ingest_file, "polars", "pyiceberg.catalog.sql", "asyncssh", "yaml"))
