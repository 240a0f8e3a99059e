"""The contents of a user's model file, one `ModelDefinition(...)`, and how such a file is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from wellspring.data.features.point_in_time import joined_column_name
from wellspring.data.transform.source_digest import is_source_file
from wellspring.errors import NotFound, ProjectError, suggest_name
from wellspring.project import Project
from wellspring.records.features import FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.record import Digest, Frozen
from wellspring.runtime import user_module
from wellspring_verify import canonical

DecimalText = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
"""Decimal text, so that an approved value has exactly one spelling."""
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
HyperparameterName = Literal[
    "num_leaves", "max_depth", "learning_rate", "min_data_in_leaf", "min_gain_to_split", "feature_fraction",
    "bagging_fraction", "bagging_freq", "lambda_l1", "lambda_l2", "cat_smooth", "cat_l2", "max_cat_threshold",
    "min_data_per_group",
]  # fmt: skip
FeatureReference = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}:[a-z][a-z0-9_]{0,62}$")]
"""`view:feature`."""


class Label(Frozen):
    """The label. table: has the model's keys, known_since and sequence; column: a bool."""

    table: Identifier
    column: Identifier


class TimeSplit(Frozen):
    """The split by time: train on earlier rows, evaluate on later ones.

    test_days: length of the test window. gap_days: between the train rows and the test window; it should be longer than
    a label takes to be known, else slow labels are missing. label_maturity_days: the newest rows, whose labels are
    incomplete, are excluded, because early labels differ from late ones.
    """

    test_days: int = Field(default=60, ge=1)
    gap_days: int = Field(default=14, ge=0)
    label_maturity_days: int = Field(default=30, ge=0)


class HyperparameterSearch(Frozen):
    """The hyperparameter search. rows: the newest rows that a trial trains on (the final model uses all).

    space: (low, high) or (low, high, "log") by LightGBM's name of a hyperparameter.
    """

    trials: int = Field(default=10, ge=1, le=500)
    seed: int = Field(default=7, ge=0, lt=2**31)
    rows: int = Field(default=12_000, ge=100)
    rounds: int = Field(default=300, ge=10, le=5000)
    space: dict[HyperparameterName, tuple[float, float] | tuple[float, float, Literal["log"]]] = {
        "num_leaves": (4, 31),
        "learning_rate": (0.04, 0.12, "log"),
        "min_data_in_leaf": (20, 300, "log"),
        "feature_fraction": (0.4, 1.0),
        "lambda_l2": (0.1, 50.0, "log"),
        "cat_smooth": (5.0, 100.0, "log"),
    }


class AcceptanceCriteria(Frozen):
    """The limits that a candidate must meet.

    auc: for the low end of its 95 % interval. margin: how much worse than the live model it may be (AUC).
    subgroup_auc, subgroup_calibration_gap: for each subgroup that is large enough. trees, leaves, reason_microseconds:
    the budget for the reasons of one prediction.
    """

    auc: float = Field(default=0.6, ge=0, le=1)
    brier: float = Field(default=0.25, ge=0, le=1)
    calibration_error: float = Field(default=0.03, ge=0, le=1)
    calibration_bins: int = Field(default=10, ge=2, le=100)
    margin: float = Field(default=0.01, ge=0, le=1)
    test_rows: int = Field(default=1000, ge=1)
    test_positives: int = Field(default=100, ge=1)
    subgroup_auc: float = Field(default=0.55, ge=0, le=1)
    subgroup_calibration_gap: float = Field(default=0.06, ge=0, le=1)
    trees: int = Field(default=300, ge=1)
    leaves: int = Field(default=31, ge=2)
    reason_microseconds: float = Field(default=20_000, gt=0)


class Subgroup(Frozen):
    """A feature whose values define subgroups. min_rows: smaller subgroups are reported, not evaluated."""

    feature: FeatureReference
    min_rows: int = Field(default=300, ge=1)


class Threshold(Frozen):
    """The score from which the second label is predicted; exactly one rule.

    recall: the highest score with at least this recall. true_positive_benefit and false_positive_cost: the score with
    the highest expected value. fixed: this score.
    """

    recall: DecimalText | None = None
    true_positive_benefit: DecimalText | None = None
    false_positive_cost: DecimalText | None = None
    fixed: DecimalText | None = None

    @model_validator(mode="after")
    def _check_single_rule(self) -> Self:
        rules = [self.recall is not None, self.true_positive_benefit is not None, self.fixed is not None]
        if sum(rules) != 1 or (self.true_positive_benefit is None) != (self.false_positive_cost is None):
            raise ValueError("give recall, or fixed, or true_positive_benefit together with false_positive_cost")
        if any(Decimal(share) > 1 for share in (self.recall, self.fixed) if share is not None):
            raise ValueError("recall and fixed must be between 0 and 1")
        return self


class BaselineFeatures(Frozen):
    """The baselines that each evaluation measures.

    columns: features of the entity itself, without identifiers. entity_column: a token column of the spine, added to
    them as a category. heuristic: a feature that is a prediction by itself.
    """

    columns: tuple[FeatureReference, ...] = Field(min_length=1)
    entity_column: Identifier
    heuristic: FeatureReference


class ModelDefinition(Frozen):
    """A model, in one file `models/NAME.py`.

    spine: the table of the entities to predict for, one row per key; a row's known_since is its prediction time.
    features: `view:feature`, or `view:*`. labels: predicted below the threshold, and from it on.
    """

    name: Identifier
    question: str = Field(min_length=10, max_length=200)
    label: Label
    keys: tuple[Identifier, ...] = Field(min_length=1)
    spine: Identifier
    features: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*:([a-z][a-z0-9_]*|\*)$")], ...] = Field(min_length=1)
    baselines: BaselineFeatures
    threshold: Threshold
    labels: tuple[str, str]
    split: TimeSplit = TimeSplit()
    search: HyperparameterSearch = HyperparameterSearch()
    acceptance_criteria: AcceptanceCriteria = AcceptanceCriteria()
    subgroups: tuple[Subgroup, ...] = ()

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class FeatureUse(NamedTuple):
    """A feature that a model uses, and its view."""

    view: FeatureViewSpec
    feature: FeatureSpec

    @property
    def name(self) -> str:
        return f"{self.view.name}:{self.feature.name}"

    @property
    def column_name(self) -> str:
        """Return its column name in the point-in-time join."""
        return joined_column_name(self.view.name, self.feature.name)


def list_models(folder: Path | None) -> list[str]:
    """List the models of a folder by their file names; empty without a folder."""
    paths = folder.glob("*.py") if folder is not None else ()
    return sorted(path.stem for path in paths if not path.stem.startswith("_"))


def load_model_definition(folder: Path, name: str) -> ModelDefinition:
    """Read `folder/NAME.py`, which defines one `ModelDefinition` of that name.

    Raises NotFound with the nearest name, ProjectError with file and line for an error in the file.
    """
    path = folder / f"{name}.py"
    model_names = list_models(folder)
    if name not in model_names:
        raise NotFound(f"no model {name!r} in {folder}", fix=suggest_name(name, model_names))
    definitions = [
        definition
        for definition in vars(user_module.run_user_module(path)).values()
        if isinstance(definition, ModelDefinition)
    ]
    if len(definitions) != 1 or definitions[0].name != name:
        defined_names = ", ".join(repr(definition.name) for definition in definitions) or "none"
        raise ProjectError(
            f"{path}: expected one ModelDefinition(name={name!r}); found: {defined_names}", fix=f"edit {path}"
        )
    return definitions[0]


def resolve_features(model: ModelDefinition, views: FeatureViews) -> tuple[FeatureUse, ...]:
    """List the features that a model names, in its order, without duplicates. Raises NotFound with the nearest name."""
    feature_uses: dict[str, FeatureUse] = {}
    for reference in model.features:
        view_name, _, feature_name = reference.partition(":")
        if feature_name == "*":
            for feature in _require_view(view_name, views).features:
                feature_uses.setdefault(
                    f"{view_name}:{feature.name}", FeatureUse(_require_view(view_name, views), feature)
                )
        else:
            feature_uses.setdefault(reference, find_feature(reference, views))
    return tuple(feature_uses.values())


def resolve_feature_dependencies(model: ModelDefinition, views: FeatureViews) -> tuple[FeatureUse, ...]:
    """List the features that an evaluation uses: those of the model, its baselines and its subgroups."""
    references = (
        *model.baselines.columns,
        model.baselines.heuristic,
        *(subgroup.feature for subgroup in model.subgroups),
    )
    return tuple(
        dict.fromkeys((*resolve_features(model, views), *(find_feature(reference, views) for reference in references)))
    )


def find_feature(reference: str, views: FeatureViews) -> FeatureUse:
    """Find one `view:feature`. Raises NotFound with the nearest name."""
    view_name, _, feature_name = reference.partition(":")
    view = _require_view(view_name, views)
    matched_feature = view.find_feature(feature_name)
    if matched_feature is None:
        fix = suggest_name(feature_name, [feature.name for feature in view.features])
        raise NotFound(f"view {view_name} has no feature {feature_name!r}", fix=fix)
    return FeatureUse(view, matched_feature)


def digest_training_sources(project: Project, name: str) -> dict[str, Digest]:
    """Hash each source file that a training uses: the model file, the feature definitions, and the dbt project."""
    source_paths = project.source_paths
    files = [source_paths["models"] / f"{name}.py"] if "models" in source_paths else []
    files += [source_paths["features"]] if "features" in source_paths else []
    if "dbt" in source_paths:
        files += [
            path
            for path in sorted(source_paths["dbt"].rglob("*"))
            if path.is_file() and is_source_file(path, source_paths["dbt"])
        ]
    return {
        path.relative_to(project.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def combine_source_digests(source_digests: Mapping[str, Digest]) -> Digest:
    """Hash a training's sources: SHA-256 of the canonical JSON of the files' digests."""
    return hashlib.sha256(canonical.dumps_canonical(dict(source_digests))).hexdigest()


def _require_view(name: str, views: FeatureViews) -> FeatureViewSpec:
    view = views.find_view(name)
    if view is None:
        raise NotFound(
            f"no view {name!r} in project {views.project}", fix=suggest_name(name, [v.name for v in views.views])
        )
    return view
