"""Identifiers that differ only in their spelling."""

import polars as pl
import pytest

from wellspring.data.intake import near_equal
from wellspring.data.intake.near_equal import NearEqualFinder


def counts(*batches: list[str | None]) -> list[int | None]:
    finder = NearEqualFinder()
    for batch in batches:
        finder.add_values("id", pl.Series(batch, dtype=pl.String))
    return [reason.count for reason in finder.describe_findings()]


@pytest.mark.parametrize(
    "pair",
    [
        ("A-1", "a1"), ("20000000.0", "20000000"), ("007", "7"), ("AB 12", "AB\u00a012"), ("\uff11\uff12", "12"),
        ("ann@example.com", "Ann@Example.com"), ("x\u200b1", "x1"),
    ],
)  # fmt: skip
def test_two_spellings_are_counted_in_one_batch_or_in_two(pair: tuple[str, str]):
    assert counts([*pair, "other"]) == [1]
    assert counts([pair[0]], [pair[1], None]) == [1]


@pytest.mark.parametrize("texts", [["A1", "A2"], ["1.5", "15.1"], ["A1", "A1"], ["-", "--"], [None, ""]])
def test_other_values_are_not(texts: list[str | None]):
    assert counts(texts) == []


def test_only_so_many_values_are_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_equal, "MAX_VALUES", 2)
    finder = NearEqualFinder()
    finder.add_values("id", pl.Series(["a", "A", "b"]).unique(maintain_order=True))
    finder.add_values("id", pl.Series(["C", None]))
    limit = finder.describe_findings()[-1]
    assert (limit.code, limit.column, limit.count) == ("near_equal_limit", "id", 2)
    finder = NearEqualFinder()
    finder.add_values("id", pl.Series(["a", "A"]))
    assert [reason.code for reason in finder.describe_findings()] == ["near_equal"]
