"""A first implementation: pandas, a Great Expectations suite, tokens value by value, pyiceberg; no proof.

What a team builds in its first week from well-known packages. It checks the same contract; a cross-column rule is a
column that must be true, since the suite runs on pandas. It lacks everything that the strong peer lacks.
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

from benchmarks.peers.job import ContractRules, Job, append_table, fetch_file, read_contract_rules, run_peer

os.environ["GX_ANALYTICS_ENABLED"] = "false"


def ingest_file(job: Job, finish_part: Callable[[str], None]) -> tuple[int, int]:
    """Ingest one file. Returns the counts of accepted and rejected rows."""
    import pandas as pd
    import pyarrow as pa

    contract = read_contract_rules(Path(job.contract))
    content = fetch_file(job)
    finish_part("fetch")
    text = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_values=[""])
    frame = _typed(text, contract)
    finish_part("parse")
    bad = _failed(_with_rules(frame, text, contract), contract)
    text.loc[sorted(bad)].to_parquet(Path(job.lake) / "rejected.parquet")
    good = frame.drop(index=sorted(bad)).drop(columns=contract.left_out)
    finish_part("check")
    for name, domain in contract.tokens.items():
        key = hmac.digest(job.secret.encode(), domain.encode(), hashlib.sha256)
        good[name] = good[name].apply(lambda value, key=key, domain=domain: _token(value, domain, key))
    finish_part("tokens")
    append_table(job, pa.table({name: _arrow(good[name], contract.types[name]) for name in good.columns}))
    finish_part("append")
    return len(good), len(bad)


def _typed(text: Any, contract: ContractRules) -> Any:
    import pandas as pd

    frame = text[list(contract.types)].copy()
    for name, kind in contract.types.items():
        if kind in {"decimal", "integer"}:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
        elif kind == "date":
            frame[name] = pd.to_datetime(frame[name], format="%Y-%m-%d", errors="coerce")
        elif kind == "timestamp":
            frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True, errors="coerce")
        elif kind == "boolean":
            frame[name] = frame[name].map({"true": True, "false": False})
    return frame


def _with_rules(frame: Any, text: Any, contract: ContractRules) -> Any:
    """Add a column for each rule, and one for whether every text could be cast to its type."""
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
    if set(rules) != set(contract.rules):
        raise ValueError("the contract has other rules than this peer knows")
    took = (frame.notna() | text[list(contract.types)].isna()).all(axis=1)
    return frame.assign(**{f"rule_{name}": holds for name, holds in rules.items()}, rule_types=took)


def _failed(frame: Any, contract: ContractRules) -> set[int]:
    """Validate the suite, and return the positions of all rows that fail an expectation."""
    import great_expectations as gx
    import pandas as pd

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    expect = gx.expectations
    suite = gx.ExpectationSuite(name="medical_claim")
    every: list[Any] = [expect.ExpectColumnValuesToNotBeNull(column=name) for name in contract.required]
    every += [
        expect.ExpectColumnValuesToBeInSet(column=name, value_set=values) for name, values in contract.enums.items()
    ]
    every += [
        expect.ExpectColumnValuesToMatchRegex(column=name, regex=regex) for name, regex in contract.patterns.items()
    ]
    for name, (low, high) in contract.ranges.items():
        dated = contract.types[name] in {"date", "timestamp"}
        limits = (pd.Timestamp(low), pd.Timestamp(high)) if dated else (low, high)
        every.append(expect.ExpectColumnValuesToBeBetween(column=name, min_value=limits[0], max_value=limits[1]))
    every += [
        expect.ExpectColumnValuesToBeInSet(column=name, value_set=[True])
        for name in frame.columns
        if name.startswith("rule_")
    ]
    every.append(expect.ExpectCompoundColumnsToBeUnique(column_list=contract.key))
    for item in every:
        suite.add_expectation(item)
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("claims")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    validation = batch.validate(suite, result_format={"result_format": "COMPLETE", "include_unexpected_rows": False})
    failed: set[int] = set()
    for result in validation.results:
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
    sys.exit(
        run_peer(ingest_file, "pandas", "great_expectations.expectations", "pyiceberg.catalog.sql", "asyncssh", "yaml")
    )
