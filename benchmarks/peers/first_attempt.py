"""The first attempt: pandas, a Great Expectations suite, tokens value by value, pyiceberg; nothing proved.

What a careful team builds in its first week from the best-known parts. It checks the same promises; a cross-column rule
is a column of its own that must be true, as the suite runs on pandas. It lacks all that the strong peer lacks.
"""

# pyright: reportMissingImports=false
# pandas and Great Expectations live in the environment of `make bench` alone.
from __future__ import annotations

import hashlib
import hmac
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.job import Job, Promises, append, fetch, contracts, run

os.environ["GX_ANALYTICS_ENABLED"] = "false"


def work(job: Job, reached: Callable[[str], None]) -> tuple[int, int]:
    """Bring one file in. Returns how many rows were kept and rejected."""
    import pandas as pd
    import pyarrow as pa

    result = contracts(Path(job.contract))
    content = fetch(job)
    reached("fetch")
    text = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_values=[""])
    frame = _typed(text, result)
    reached("parse")
    bad = _failed(_with_rules(frame, text, result), result)
    text.loc[sorted(bad)].to_parquet(Path(job.lake) / "rejected.parquet")
    good = frame.drop(index=sorted(bad)).drop(columns=result.left_out)
    reached("check")
    for name, domain in result.tokens.items():
        key = hmac.digest(job.secret.encode(), domain.encode(), hashlib.sha256)
        good[name] = good[name].apply(lambda value, key=key, domain=domain: _token(value, domain, key))
    reached("tokens")
    append(job, pa.table({name: _arrow(good[name], result.types[name]) for name in good.columns}))
    reached("append")
    return len(good), len(bad)


def _typed(text: Any, result: Promises) -> Any:
    import pandas as pd

    frame = text[list(result.types)].copy()
    for name, kind in result.types.items():
        if kind in {"decimal", "integer"}:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
        elif kind == "date":
            frame[name] = pd.to_datetime(frame[name], format="%Y-%m-%d", errors="coerce")
        elif kind == "timestamp":
            frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True, errors="coerce")
        elif kind == "boolean":
            frame[name] = frame[name].map({"true": True, "false": False})
    return frame


def _with_rules(frame: Any, text: Any, result: Promises) -> Any:
    """Add a column for each rule, and one that says whether every text took its type."""
    institutional, professional = frame["claim_type"] == "institutional", frame["claim_type"] == "professional"
    rules = {
        "service_in_order": ~(frame["claim_start_date"] > frame["claim_end_date"]),
        "received_after_service": ~(frame["received_date"] < frame["claim_end_date"]),
        "institutional_is_coded": ~institutional
        | (frame["bill_type_code"].notna() & frame["revenue_center_code"].notna()),
        "professional_is_placed": ~professional
        | (frame["place_of_service_code"].notna() & frame["hcpcs_code"].notna()),
        "replacement_names_its_claim": (frame["claim_record_type"] == "replacement")
        == frame["original_claim_id"].notna(),
    }
    if set(rules) != set(result.rules):
        raise ValueError("the contract has other rules than this peer knows")
    took = (frame.notna() | text[list(result.types)].isna()).all(axis=1)
    return frame.assign(**{f"rule_{name}": holds for name, holds in rules.items()}, rule_types=took)


def _failed(frame: Any, result_value: Promises) -> set[int]:
    """Validate the suite, and return the places of all rows that some expectation names."""
    import great_expectations as gx
    import pandas as pd

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    expect = gx.expectations
    suite = gx.ExpectationSuite(name="medical_claim")
    every: list[Any] = [expect.ExpectColumnValuesToNotBeNull(column=name) for name in result_value.required]
    every += [
        expect.ExpectColumnValuesToBeInSet(column=name, value_set=values) for name, values in result_value.enums.items()
    ]
    every += [
        expect.ExpectColumnValuesToMatchRegex(column=name, regex=regex) for name, regex in result_value.patterns.items()
    ]
    for name, (low, high) in result_value.ranges.items():
        dated = result_value.types[name] in {"date", "timestamp"}
        limits = (pd.Timestamp(low), pd.Timestamp(high)) if dated else (low, high)
        every.append(expect.ExpectColumnValuesToBeBetween(column=name, min_value=limits[0], max_value=limits[1]))
    every += [
        expect.ExpectColumnValuesToBeInSet(column=name, value_set=[True])
        for name in frame.columns
        if name.startswith("rule_")
    ]
    every.append(expect.ExpectCompoundColumnsToBeUnique(column_list=result_value.key))
    for item in every:
        suite.add_expectation(item)
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("claims")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    told_by = batch.validate(suite, result_format={"result_format": "COMPLETE", "include_unexpected_rows": False})
    failed: set[int] = set()
    for result in told_by.results:
        if result.exception_info.get("raised_exception"):
            raise RuntimeError(f"{result.expectation_config.type} could not be run")
        failed.update(result.result.get("unexpected_index_list") or [])
    return failed


def _token(value: Any, domain: str, key: bytes) -> str | None:
    if not isinstance(value, str):
        return None
    return f"{domain}_{hmac.digest(key, value.encode(), hashlib.sha256)[:16].hex()}"


def _arrow(column: Any, kind: str) -> Any:
    import pyarrow as pa

    types = {"decimal": pa.float64(), "integer": pa.int64(), "date": pa.date32(), "boolean": pa.bool_()}
    types["timestamp"] = pa.timestamp("us", "UTC")
    return pa.Array.from_pandas(column, type=types.get(kind, pa.string()))


if __name__ == "__main__":
    sys.exit(run(work, "pandas", "great_expectations.expectations", "pyiceberg.catalog.sql", "asyncssh", "yaml"))
