"""The reference project's transforms: history really is as known then, and a planted peek at the future is named."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from examples.health_plan import process
from tests.architecture import repository
from tests.builders import dbt_builds
from wellspring.data.transform import build
from wellspring.data.transform.dbt_process import BuildResult
from wellspring.query.port import DbtSource
from wellspring.records.record import format_instant

pytestmark = pytest.mark.slow

DBT = repository.ROOT / "examples" / "health_plan" / "dbt"
CUTS = tuple(datetime(2026, month, 11, 15, tzinfo=UTC) for month in (6, 9))
INSTANTS = tuple(map(format_instant, CUTS))
Rows = list[dict[str, Any]]
PEEKING = """
select claim.claim_id, claim.recorded_at as known_since, claim.version::bigint as sequence,
  coalesce(bool_or(outcome.is_denied), false) as ends_denied
from {{ ref("claim") }} as claim
left join {{ ref("claim_outcome") }} as outcome on claim.claim_id = outcome.claim_id
group by all
"""
PEEKING_YML = """
models:
  - name: peeking
    config: {contract: {enforced: true}, meta: {keys: [claim_id]}}
    columns:
      - {name: claim_id, data_type: varchar}
      - {name: known_since, data_type: timestamp with time zone}
      - {name: sequence, data_type: bigint}
      - {name: ends_denied, data_type: boolean}
"""


class Built(NamedTuple):
    """A history, what dbt made of it, and where that lies."""

    history: process.History
    answer: BuildResult
    scratch: Path

    def rows(self, table: str) -> Rows:
        """Read a table that was built, or one that it was built from."""
        stored = self.scratch / "full" / f"{table}.parquet"
        return (pq.read_table(stored) if stored.exists() else getattr(self.history, table)).to_pylist()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("health_plan")
    history = process.history(500, 6000, 11, months=8)
    sources: dict[str, DbtSource] = {}
    for name, table in history.tables.items():
        count = table.num_rows
        landed = {
            "row_number": pa.array(range(1, count + 1), pa.int64()),
            "drop_id": pa.repeat(f"clearinghouse-{name}", count),
            "replay_number": pa.repeat(pa.scalar(0, pa.int64()), count),
            "tenant": pa.repeat("acme", count),
            "known_since": pa.repeat(pa.scalar(datetime(2026, 11, 1, tzinfo=UTC), pa.timestamp("us", "UTC")), count),
        }
        for column, values in landed.items():
            table = table.append_column(column, values)
        pq.write_table(table, folder / f"{name}.parquet")
        sources[name] = dbt_builds.source(folder / f"{name}.parquet", "recorded_at", "known_since")
    project = shutil.copytree(DBT, folder / "dbt")
    (project / "models" / "peeking.sql").write_text(PEEKING)
    (project / "models" / "peeking.yml").write_text(PEEKING_YML)
    scratch = folder / "scratch"
    answer = dbt_builds.run_build(project, scratch, sources, audit_instants=INSTANTS)
    return Built(history, answer, scratch)


def test_it_builds_and_keeps_its_tests(built: Built):
    assert built.answer.problems == ()
    assert built.answer.passed_tests >= 35
    assert {table.name for table in built.answer.tables} == {
        "claim_features", "claim_label", "member_history", "peeking", "provider_history",
    }  # fmt: skip
    for table in built.answer.tables:
        rows = dbt_builds.read_export(built.scratch, table.name)
        assert build._check_built_table(table, rows).num_rows == table.rows > 0


def test_only_the_planted_peek_knew_the_future(built: Built):
    report = dbt_builds.audit(built.answer, built.scratch, INSTANTS)
    assert report.leaks == ("peeking.ends_denied",)
    assert min(report.audited_rows.values()) > 0
    assert set(report.audited_rows) == {table.name for table in built.answer.tables}


def test_each_column_of_a_feature_table_says_in_a_line_what_it_means():
    (models,) = [yaml.safe_load(path.read_text())["models"] for path in DBT.glob("models/features/*.yml")]
    words = [(column["name"], column.get("description", "")) for model in models for column in model["columns"]]
    assert len(words) > 100
    assert [name for name, output in words if not 7 < len(output) <= 130 or output.endswith(".")] == []


def test_the_label_is_the_truth_but_for_what_is_not_known_yet(built: Built):
    labels = {value["claim_id"]: value["denied"] for value in built.history.truth.to_pylist()}
    newest = {item["claim_id"]: item for item in sorted(built.rows("claim_label"), key=lambda row: row["sequence"])}
    error = [claim for claim, row in newest.items() if row["is_denied"] != labels[claim]]
    # An appeal or an audit of these becomes known after the history ends.
    assert len(error) <= len(newest) * 0.01
    assert all(row["is_denied"] == (row["carc_code"] is not None) for row in newest.values())


def claims(built: Built, every: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield some claims, as their first line says them and with their features."""
    first = {item["claim_id"]: item for item in built.rows("medical_claim") if item["claim_line_number"] == 1}
    for number, row in enumerate(built.rows("claim_features")):
        if number % every == 0:
            yield first[row["claim_id"]], row


def result(built: Built) -> Rows:
    """List each denial when it was first told, by the rule in words: nothing paid, and a reason that is a denial."""
    first = {item["claim_id"]: item for item in built.rows("medical_claim") if item["claim_line_number"] == 1}
    reasons: dict[tuple[str, datetime], dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for item in built.rows("claim_adjustment"):
        if item["adjustment_group_code"] != "PR" and item["carc_code"] != "45":
            reasons[item["claim_id"], item["recorded_at"]][item["carc_code"]] += item["adjustment_amount"]
    matches: Rows = []
    was: dict[str, bool] = {}
    for item in sorted(built.rows("remittance"), key=lambda row: row["recorded_at"]):
        reason = reasons.get((item["claim_id"], item["recorded_at"]), {})
        denied = item["paid_amount"] == 0 and bool(reason)
        if denied and not was.get(item["claim_id"], False):
            about = first[item["claim_id"]]
            matches.append({**about, "told": item["recorded_at"], "carc": max(reason, key=lambda code: reason[code])})
        was[item["claim_id"]] = denied
    return matches


def test_denials_of_a_member_are_those_known_by_then(built: Built):
    denials = result(built)
    observed = 0
    for claim, row in claims(built, 7):
        since = claim["recorded_at"] - timedelta(days=90)
        own_copy = [
            denial
            for denial in denials
            if denial["member_id"] == claim["member_id"] and since <= denial["told"] <= claim["recorded_at"]
        ]
        same = [
            item
            for item in own_copy
            if item["hcpcs_code"] == claim["hcpcs_code"] and item["carc"] not in {"18", "26", "27", "29"}
        ]
        assert (row["member_denials_90d"], row["same_care_denials_90d"]) == (len(own_copy), len(same))
        observed += len(same) > 0
    assert observed > 5


def test_coverage_is_what_was_known_when_the_claim_was_recorded(built: Built):
    spans: dict[str, Rows] = defaultdict(list)
    for item in built.rows("eligibility"):
        spans[item["member_id"]].append(item)
    answers: set[bool] = set()
    for claim, row in claims(built, 3):
        expected: dict[Any, dict[str, Any]] = {}
        for item in sorted(spans[claim["member_id"]], key=lambda span: span["recorded_at"]):
            if item["recorded_at"] <= claim["recorded_at"]:
                expected[item["enrollment_start_date"]] = item
        day = claim["claim_start_date"]
        covered = any(
            start <= day and (span["enrollment_end_date"] is None or day <= span["enrollment_end_date"])
            for start, span in expected.items()
        )
        assert row["is_covered"] == covered
        answers.add(covered)
    assert answers == {True, False}


def test_an_authorization_is_what_the_files_said_by_then(built: Built):
    files: dict[str, Rows] = defaultdict(list)
    for item in built.rows("prior_authorization"):
        files[item["prior_auth_number"]].append(item)
    states: set[str] = set()
    for claim, row in claims(built, 1):
        stored = [path for path in files[claim["prior_auth_number"]] if path["recorded_at"] <= claim["recorded_at"]]
        paper = max(stored, key=lambda item: item["recorded_at"], default=None)
        if claim["prior_auth_number"] is None:
            state = "none"
        elif paper is None:
            state = "not_on_file"
        elif paper["hcpcs_code"] != claim["hcpcs_code"]:
            state = "other_code"
        else:
            inside = paper["approved_from"] <= claim["claim_start_date"] <= paper["approved_to"]
            state = "valid" if inside else "expired"
        assert row["auth_state"] == state
        states.add(state)
    assert states == {"none", "not_on_file", "other_code", "valid", "expired"}


def test_a_providers_denials_are_those_known_in_the_days_before(built: Built):
    denials = result(built)
    for row in built.rows("provider_history")[::97]:
        since = row["known_since"] - timedelta(days=30)
        own_copy = [
            denial
            for denial in denials
            if denial["billing_npi"] == row["billing_npi"] and since <= denial["told"] <= row["known_since"]
        ]
        assert row["denials_30d"] == len(own_copy)
        assert row["denial_rate_30d"] <= 1
