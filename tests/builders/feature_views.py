"""Builders of views, their rows and tokens, for tests of features."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from wellspring.records.features import FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.lake import Edition, TableSnapshot

START = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "string": pa.string()}
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
HISTORY = {"denials": "int64", "rate": "float64", "covered": "bool", "plan": "string"}


def token(number: int, domain: str = "member") -> str:
    """Make what looks like a token of the enclave."""
    return f"{domain}_k1_" + "".join(LETTERS[number >> (5 * place) & 31] for place in range(26))


def instant(second: float) -> datetime:
    """An instant, in seconds after the start."""
    return START + timedelta(seconds=second)


def view(
    name: str = "member_history",
    features: dict[str, str] | None = None,
    keys: tuple[str, ...] = ("member_id",),
    max_age_seconds: int | None = None,
) -> FeatureViewSpec:
    """Make a view over the table of its own name."""
    built = [
        FeatureSpec.model_validate({"name": item, "type": kind, "description": f"the {item}"})
        for item, kind in (features or HISTORY).items()
    ]
    return FeatureViewSpec(
        name=name,
        entity="member",
        keys=keys,
        table=name,
        features=tuple(built),
        owner="claims@example.com",
        max_age_seconds=max_age_seconds,
    )


def views(*arguments: FeatureViewSpec) -> FeatureViews:
    return FeatureViews(project="acme", views=arguments or (view(),), digest="d" * 64)


def rows(of: FeatureViewSpec, arguments: Iterable[dict[str, Any]]) -> pa.Table:
    """Make a table of a view; what a row leaves out is null, its instant the start and its sequence 0."""
    listed = [{"known_since": START, "sequence": 0, **item} for item in arguments]
    kinds = {
        **{key: pa.string() for key in of.keys},
        "known_since": pa.timestamp("us", "UTC"),
        "sequence": pa.int64(),
        **{feature.name: TYPES[feature.type] for feature in of.features},
    }
    return pa.table({name: pa.array([item.get(name) for item in listed], kind) for name, kind in kinds.items()})


def edition(
    name: str = "0123456789ab", *, published: float = 0, tables: Iterable[str] = ("member_history",)
) -> Edition:
    return Edition(
        tenant="acme",
        known_since=instant(published),
        id=name,
        level="built",
        parent=None,
        tables=tuple(TableSnapshot(table=table, snapshot_id=1, rows=1) for table in tables),
        drops=(),
    )
