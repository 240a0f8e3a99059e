"""What the example calls a denial, when an adjustment was recorded again: on rows written by hand."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest

from tests.architecture import repository

SQL = repository.ROOT / "examples" / "health_plan" / "dbt" / "models" / "marts" / "claim_outcome.sql"
Adjustment = tuple[int, str, str, int]
"""On which day, group, code, amount."""


def outcomes(*adjustments: Adjustment) -> list[tuple[Any, ...]]:
    """One claim on whose one line nothing was paid on day 10; all adjustments bear one line and one sequence."""
    with duckdb.connect() as project:
        project.execute(
            "create table stg_remittance as select 'c' as claim_id, timestamptz '2026-01-10 00:00Z' as recorded_at, "
            "date '2026-01-10' as adjudicated_date, 0::decimal(12, 2) as paid_amount"
        )
        project.execute(
            "create table stg_claim_adjustment (claim_id varchar, claim_line_number int, adjustment_sequence int, "
            "recorded_at timestamptz, adjustment_group_code varchar, carc_code varchar, "
            "adjustment_amount decimal(12, 2), rarc_code varchar)"
        )
        for day, group, code, amount in adjustments:
            project.execute(
                "insert into stg_claim_adjustment values ('c', 1, 1, ?::timestamptz, ?, ?, ?, null)",
                [f"2026-01-{day:02} 00:00Z", group, code, amount],
            )
        sql = re.sub(r'\{\{ ref\("(\w+)"\) \}\}', r"\1", SQL.read_text())
        return project.sql(f"select is_denied, carc_code, was_denied from ({sql}) order by version").fetchall()


def test_an_adjustment_that_was_corrected_away_denies_no_longer():
    assert outcomes((10, "CO", "16", 100)) == [(True, "16", False)]
    assert outcomes((10, "CO", "16", 100), (12, "PR", "1", 100)) == [(True, "16", False), (False, None, True)]
    assert outcomes((10, "CO", "16", 100), (12, "CO", "45", 100)) == [(True, "16", False), (False, None, True)]


def test_an_adjustment_that_became_a_denial_denies_from_then_on():
    assert outcomes((10, "PR", "1", 100), (12, "CO", "16", 100)) == [(False, None, False), (True, "16", False)]


@pytest.mark.parametrize("code", ["1", "2", "3", "45"])
def test_cost_share_and_contractual_write_off_are_not_denials(code: str):
    assert outcomes((10, "CO", code, 100)) == [(False, None, False)]
