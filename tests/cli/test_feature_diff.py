"""The lines that tell an approver how the features of a release differ."""

from __future__ import annotations

from typing import Any

import pytest

from wellspring.cli.context import CliContext
from wellspring.cli.feature_diff import print_feature_diff

BEFORE: dict[str, Any] = {"rows": 4, "nulls": 1, "mean": 0.5, "quantiles": [0.1, 0.4, 0.9], "shares": {}}
FEATURE: dict[str, Any] = {"feature": "rate", "changed": 3, "before": BEFORE, "after": None}
VIEW: dict[str, Any] = {
    "view": "member", "before_version": "a", "after_version": "b", "rows_before": 4, "rows_after": 5, "compared": 4,
    "features": [FEATURE],
}  # fmt: skip
DIFF: dict[str, Any] = {"subject": "candidate:c", "model": "denials", "live": "r1", "code": ["m.sql"], "views": [VIEW]}


def lines(capsys: pytest.CaptureFixture[str], **changes: Any) -> list[str]:
    print_feature_diff(CliContext(folder=None, as_json=False), {**DIFF, **changes})
    return capsys.readouterr().out.splitlines()


def test_each_changed_feature_is_described_on_both_sides(capsys: pytest.CaptureFixture[str]):
    output = lines(capsys)
    assert output[0] == "dbt code, compared with release r1: m.sql"
    assert output[1] == "view member, version a -> b: 4 -> 5 rows, 1 of its features differ"
    assert output[-1].split() == ("rate 3 of 4 mean 0.5, median 0.4 (0.1 to 0.9), 25.0% null absent".split())


def test_categories_are_shown_as_shares(capsys: pytest.CaptureFixture[str]):
    shares = {**BEFORE, "mean": None, "quantiles": [], "nulls": 0, "shares": {"gold": 1, "silver": 3}}
    view = {**VIEW, "features": [{**FEATURE, "after": shares}]}
    assert "gold 25.0%, silver 75.0%" in lines(capsys, views=[view])[-1]
    empty = {**BEFORE, "rows": 0, "nulls": 0, "mean": None, "quantiles": []}
    assert lines(capsys, views=[{**VIEW, "features": [{**FEATURE, "after": empty}]}])[-1].endswith("no value")


def test_without_a_change_one_line_says_so(capsys: pytest.CaptureFixture[str]):
    assert lines(capsys, views=[], code=[])[-1].startswith("features: all views have the same version")
    assert "nothing to compare with" in lines(capsys, live="")[0]


def test_many_changed_files_are_counted(capsys: pytest.CaptureFixture[str]):
    assert lines(capsys, code=[f"{n}.sql" for n in range(8)])[0].endswith("4.sql and 3 more")
