"""Baselines: reference models that each evaluation measures on the same rows."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from wellspring.models.spec.names import FeatureReference, Identifier
from wellspring.records.record import Frozen

BaselineKind = Literal["constant", "columns", "entity", "heuristic"]
_DESCRIPTIONS: dict[BaselineKind, str] = {
    "constant": "the same output for every row",
    "columns": "a model of {features} features",
    "entity": "a model of {features} features and {entity} as a category",
    "heuristic": "{features} as it is, without training",
}


class Baseline(Frozen):
    """One baseline. Use the constructors below. name: in reports and on the card; different for each baseline.

    features: `view:feature`. entity: a column of the spine, such as a token, whose values become categories.
    """

    kind: BaselineKind
    name: Identifier
    features: tuple[FeatureReference, ...] = ()
    entity: Identifier | None = None

    @classmethod
    def constant(cls, *, name: str = "constant") -> Self:
        """Predict the same for every row."""
        return cls(kind="constant", name=name)

    @classmethod
    def columns(cls, *features: str, name: str = "columns") -> Self:
        """Train on some features only."""
        return cls(kind="columns", name=name, features=features)

    @classmethod
    def with_entity(cls, entity: str, *features: str, name: str = "columns_plus_entity") -> Self:
        """Train on some features and the entity itself, so that a model must know more than who it is about."""
        return cls(kind="entity", name=name, features=features, entity=entity)

    @classmethod
    def heuristic(cls, feature: str, *, name: str = "heuristic") -> Self:
        """Use one feature as the prediction."""
        return cls(kind="heuristic", name=name, features=(feature,))

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        counts = {"constant": (0, 0), "columns": (1, 500), "entity": (1, 500), "heuristic": (1, 1)}
        low, high = counts[self.kind]
        if not low <= len(self.features) <= high or (self.entity is not None) != (self.kind == "entity"):
            raise ValueError("use Baseline.constant, .columns, .with_entity or .heuristic")
        return self

    @property
    def description(self) -> str:
        """Describe it for the card."""
        features = self.features[0] if self.kind == "heuristic" else str(len(self.features))
        return _DESCRIPTIONS[self.kind].format(features=features, entity=self.entity)
