"""Define the records of features: views, their features, and the rows that stores hold."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from wellspring.records.record import Digest, Frozen

KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN = "known_since", "sequence"
"""Columns of every feature table; see `FeatureViewSpec`."""


class FeatureSpec(Frozen):
    """One feature of a view. description: its meaning in words, which the reasons of a prediction quote.

    categories: values of a string feature that a model uses, in the order of their codes.
    """

    name: str
    type: Literal["int64", "float64", "bool", "string"]
    description: str
    categories: tuple[str, ...] = ()


class FeatureViewSpec(Frozen):
    """Features of one entity over time: rows of one built table.

    keys: the token columns that identify the entity. The table also has `known_since` (UTC, microseconds) and
    `sequence` (int64): of two rows of one entity, the one with the greater (known_since, sequence) wins.
    max_age_seconds: a prediction from an older edition is stale; None: never.
    version: 12 hex of the digest of its definition and of the SQL that its table is built with; '' before it is bound
    to a built edition. Rows of two versions of a view are stored apart.
    """

    name: str
    entity: str
    keys: tuple[str, ...]
    table: str
    features: tuple[FeatureSpec, ...]
    owner: str
    max_age_seconds: int | None = None
    version: str = ""

    @property
    def online_name(self) -> str:
        """Return the name of this version of the view in the online store, which is also its name in Feast."""
        return f"{self.name}_v{self.version}" if self.version else self.name

    def find_feature(self, name: str) -> FeatureSpec | None:
        """Return the feature with this name, or None."""
        return next((feature for feature in self.features if feature.name == name), None)


class FeatureViews(Frozen):
    """All feature views of a project, compiled from its Feast definitions. digest: SHA-256 of the canonical JSON."""

    project: str
    views: tuple[FeatureViewSpec, ...]
    digest: Digest

    def find_view(self, name: str) -> FeatureViewSpec | None:
        """Return the view with this name, or None."""
        return next((view for view in self.views if view.name == name), None)


class FeatureRow(NamedTuple):
    """One row of a feature view, offline or online. values: by feature, in the view's order; None if unknown.

    edition: the built edition from which the row was read.
    """

    view: str
    key: tuple[str, ...]
    values: dict[str, int | float | bool | str | None]
    known_since: datetime
    sequence: int
    edition: str
