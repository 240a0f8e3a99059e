"""The contents of a user's model file, one `ModelDefinition(...)`, and how such a file is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import Field, InstanceOf, model_validator

from wellspring.data.features.point_in_time import joined_column_name
from wellspring.data.transform.source_digest import is_source_file
from wellspring.errors import NotFound, ProjectError, suggest_name
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.port import Estimator, FileEstimator, find_trained_file
from wellspring.models.estimators.registry import find_estimator
from wellspring.models.spec.baselines import Baseline
from wellspring.models.spec.names import FeatureReference, Identifier
from wellspring.models.tasks.port import Task
from wellspring.models.tasks.registry import find_task
from wellspring.project import Project
from wellspring.records.features import FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.record import Digest, Frozen
from wellspring.runtime import user_module
from wellspring_verify import canonical


class Label(Frozen):
    """The label. table: has the model's keys, known_since and sequence; column: of a type that the task accepts."""

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


class Subgroup(Frozen):
    """A feature whose values define subgroups. min_rows: smaller subgroups are reported, not evaluated."""

    feature: FeatureReference
    min_rows: int = Field(default=300, ge=1)


class ModelDefinition(Frozen):
    """A model, in one file `models/NAME.py`.

    spine: the table of the entities to predict for, one row per key; a row's known_since is its prediction time.
    features: `view:feature`, or `view:*`. task: what is predicted. estimator: what fits it.
    """

    name: Identifier
    question: str = Field(min_length=10, max_length=200)
    label: Label
    keys: tuple[Identifier, ...] = Field(min_length=1)
    spine: Identifier
    features: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*:([a-z][a-z0-9_]*|\*)$")], ...] = Field(min_length=1)
    task: InstanceOf[Task]
    estimator: InstanceOf[Estimator] = LightGBM()
    baselines: tuple[Baseline, ...] = (Baseline.constant(),)
    split: TimeSplit = TimeSplit()
    subgroups: tuple[Subgroup, ...] = ()

    @model_validator(mode="after")
    def _check_parts_fit(self) -> Self:
        if not self.estimator.supports(self.task.objective_kind):
            raise ValueError(f"the estimator {self.estimator.name} does not support the task {self.task.name}")
        # Serving finds both classes again by name, so another class would predict differently from what was measured.
        try:
            registered = (find_task(self.task.name), find_estimator(self.estimator.name))
        except ProjectError as exc:
            raise ValueError(f"{exc.what}; {exc.fix}") from None
        for part, part_class in zip((self.task, self.estimator), registered, strict=True):
            if type(part) is not part_class:
                raise ValueError(f"{type(part).__name__} is not the class that is registered as {part.name!r}")
        names = [baseline.name for baseline in self.baselines]
        if len(set(names)) != len(names):
            raise ValueError("two baselines have the same name: give each name=...")
        return self

    @property
    def subject(self) -> str:
        return f"model:{self.name}"

    @property
    def entity_columns(self) -> tuple[str, ...]:
        """Return the columns of the spine that baselines use as categories."""
        return tuple(dict.fromkeys(baseline.entity for baseline in self.baselines if baseline.entity is not None))


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


def find_model_file(folder: Path, name: str) -> Path:
    """Return the path of a model file. Raises NotFound with the nearest name."""
    model_names = list_models(folder)
    if name not in model_names:
        raise NotFound(f"no model {name!r} in {folder}", fix=suggest_name(name, model_names))
    return folder / f"{name}.py"


def load_model_definition(folder: Path, name: str) -> ModelDefinition:
    """Run `folder/NAME.py` in this process; it defines one `ModelDefinition` of that name.

    A process with a credential uses `read_model_definition`, because the file is code of the project. A model that was
    trained elsewhere is read too, from `folder/NAME.*`. Raises NotFound with the nearest name, ProjectError with file
    and line for an error in the file.
    """
    path = find_model_file(folder, name)
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
    return open_trained_file(definitions[0], path)


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
        *(feature for baseline in model.baselines for feature in baseline.features),
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
    """Hash each source file that a training uses: `models/NAME.*`, the feature definitions, and the dbt project."""
    source_paths = project.source_paths
    files = sorted(source_paths["models"].glob(f"{name}.*")) if "models" in source_paths else []
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


def open_trained_file(definition: ModelDefinition, path: Path) -> ModelDefinition:
    """Read the file of a model that was trained elsewhere; its name begins as that of the model file."""
    estimator, trained_file = definition.estimator, find_trained_file(definition.estimator)
    if trained_file is None or not isinstance(estimator, FileEstimator):
        return definition
    # The digests of a training's sources cover the files of the model's name.
    if trained_file.name.partition(".")[0] != definition.name or "/" in trained_file.name:
        raise ProjectError(
            f"{path}: the file {trained_file.name} must have the name of the model",
            fix=f"rename it to {definition.name}.{trained_file.name.partition('.')[2]}",
        )
    return definition.model_copy(update={"estimator": estimator.open_file(path.parent)})


def _require_view(name: str, views: FeatureViews) -> FeatureViewSpec:
    view = views.find_view(name)
    if view is None:
        raise NotFound(
            f"no view {name!r} in project {views.project}", fix=suggest_name(name, [v.name for v in views.views])
        )
    return view
