"""What a user's model file is made of: one `Model(...)`, and how such a file is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from wellspring.data import module
from wellspring.data.code import is_code
from wellspring.data.joins import column
from wellspring.errors import NotFound, ProjectError
from wellspring.project import Project, nearest
from wellspring.records.data import Feature, View, Views
from wellspring.records.record import Digest, Frozen
from wellspring_verify import canonical

Number = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
"""Decimal text: what is approved must read the same to everybody."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Setting = Literal[
    "num_leaves", "max_depth", "learning_rate", "min_data_in_leaf", "min_gain_to_split", "feature_fraction",
    "bagging_fraction", "bagging_freq", "lambda_l1", "lambda_l2", "cat_smooth", "cat_l2", "max_cat_threshold",
    "min_data_per_group",
]  # fmt: skip
Dotted = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}:[a-z][a-z0-9_]{0,62}$")]
"""`view:feature`."""


class Label(Frozen):
    """The truth that is learned. table: with the model's keys, known_since and sequence; column: a bool of it."""

    table: Name
    column: Name


class TimeSplit(Frozen):
    """Learn from what lies before, be judged on what came after.

    test_days: length of the window that judges. gap_days: between what is learned from and that window; longer than
    a label takes to be known, or the slow labels are missing. settle_days: the newest rows whose labels are still
    coming in, left out altogether, since a fast label is seldom like a slow one.
    """

    test_days: int = Field(default=60, ge=1)
    gap_days: int = Field(default=14, ge=0)
    settle_days: int = Field(default=30, ge=0)


class Search(Frozen):
    """How settings are looked for. rows: the newest rows that a trial learns from (the final model takes all).

    space: by LightGBM's name of a setting (low, high), or (low, high, "log").
    """

    trials: int = Field(default=10, ge=1, le=500)
    seed: int = Field(default=7, ge=0, lt=2**31)
    rows: int = Field(default=12_000, ge=100)
    rounds: int = Field(default=300, ge=10, le=5000)
    space: dict[Setting, tuple[float, float] | tuple[float, float, Literal["log"]]] = {
        "num_leaves": (4, 31),
        "learning_rate": (0.04, 0.12, "log"),
        "min_data_in_leaf": (20, 300, "log"),
        "feature_fraction": (0.4, 1.0),
        "lambda_l2": (0.1, 50.0, "log"),
        "cat_smooth": (5.0, 100.0, "log"),
    }


class Bars(Frozen):
    """What a candidate must reach. auc: the low end of its 95 % interval. margin: how much worse than the live
    release it may be and still be called no worse. group_auc, group_gap: of each subgroup that is large enough.
    trees, leaves, reason_microseconds: what the reasons of one answer may cost.
    """

    auc: float = Field(default=0.6, ge=0, le=1)
    brier: float = Field(default=0.25, ge=0, le=1)
    calibration_error: float = Field(default=0.03, ge=0, le=1)
    calibration_bins: int = Field(default=10, ge=2, le=100)
    margin: float = Field(default=0.01, ge=0, le=1)
    test_rows: int = Field(default=1000, ge=1)
    test_positives: int = Field(default=100, ge=1)
    group_auc: float = Field(default=0.55, ge=0, le=1)
    group_gap: float = Field(default=0.06, ge=0, le=1)
    trees: int = Field(default=300, ge=1)
    leaves: int = Field(default=31, ge=2)
    reason_microseconds: float = Field(default=20_000, gt=0)


class Subgroup(Frozen):
    """Rows that share one value of a feature are looked at alone. minimum: smaller groups are told, not judged."""

    feature: Dotted
    minimum: int = Field(default=300, ge=1)


class Threshold(Frozen):
    """From which score on the second label is given; exactly one rule.

    recall: the highest score that still catches this share. caught and false_alarm: what one right alarm brings and
    one wrong alarm costs; the score with the most expected value. fixed: this score.
    """

    recall: Number | None = None
    caught: Number | None = None
    false_alarm: Number | None = None
    fixed: Number | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [self.recall is not None, self.caught is not None, self.fixed is not None]
        if sum(rules) != 1 or (self.caught is None) != (self.false_alarm is None):
            raise ValueError("give recall, or fixed, or caught together with false_alarm")
        if any(Decimal(each) > 1 for each in (self.recall, self.fixed) if each is not None):
            raise ValueError("recall and fixed are between 0 and 1")
        return self


class Baselines(Frozen):
    """What the model is always told beside. raw: columns of the thing itself, without identities. provider: the
    spine's token column that is added to them as a category. rate: a feature that is a guess by itself."""

    raw: tuple[Dotted, ...] = Field(min_length=1)
    provider: Name
    rate: Dotted


class Model(Frozen):
    """One question to learn, in one file `models/NAME.py`.

    spine: the table of the things asked about, one a key; a row's known_since is the instant of the question.
    features: `view:feature`, or `view:*`. labels: what is said below the threshold, and from it on.
    """

    name: Name
    question: str = Field(min_length=10, max_length=200)
    label: Label
    keys: tuple[Name, ...] = Field(min_length=1)
    spine: Name
    features: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*:([a-z][a-z0-9_]*|\*)$")], ...] = Field(min_length=1)
    baselines: Baselines
    threshold: Threshold
    labels: tuple[str, str]
    split: TimeSplit = TimeSplit()
    search: Search = Search()
    bars: Bars = Bars()
    subgroups: tuple[Subgroup, ...] = ()

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class Used(NamedTuple):
    """One feature that a model uses, and the view that it comes from."""

    view: View
    feature: Feature

    @property
    def name(self) -> str:
        return f"{self.view.name}:{self.feature.name}"

    @property
    def column(self) -> str:
        """Its name in the table that a join as known then makes."""
        return column(self.view.name, self.feature.name)


def names(folder: Path | None) -> list[str]:
    """List the models of a folder, by their files; none of no folder."""
    found = folder.glob("*.py") if folder is not None else ()
    return sorted(each.stem for each in found if not each.stem.startswith("_"))


def load(folder: Path, name: str) -> Model:
    """Read `folder/NAME.py`, which holds one `Model` of that name.

    Raises NotFound with the nearest name, ProjectError with file and line for whatever is wrong in the file.
    """
    path = folder / f"{name}.py"
    known = names(folder)
    if name not in known:
        raise NotFound(f"no model {name!r} in {folder}", fix=nearest(name, known))
    found = [each for each in vars(module.run(path)).values() if isinstance(each, Model)]
    if len(found) != 1 or found[0].name != name:
        there = ", ".join(repr(each.name) for each in found) or "none"
        raise ProjectError(f"{path}: one Model(name={name!r}) is expected; there is: {there}", fix=f"edit {path}")
    return found[0]


def resolve(model: Model, views: Views) -> tuple[Used, ...]:
    """Find the features that a model names, in its order, each once. Raises NotFound with the nearest name."""
    found: dict[str, Used] = {}
    for asked in model.features:
        view, _, feature = asked.partition(":")
        if feature == "*":
            for each in _view(view, views).features:
                found.setdefault(f"{view}:{each.name}", Used(_view(view, views), each))
        else:
            found.setdefault(asked, find(asked, views))
    return tuple(found.values())


def rests_on(model: Model, views: Views) -> tuple[Used, ...]:
    """Find all that a model's figures rest on, each once: its features, and those of its baselines and subgroups."""
    beside = (*model.baselines.raw, model.baselines.rate, *(each.feature for each in model.subgroups))
    return tuple(dict.fromkeys((*resolve(model, views), *(find(each, views) for each in beside))))


def find(asked: str, views: Views) -> Used:
    """Find one `view:feature`. Raises NotFound with the nearest name."""
    name, _, feature = asked.partition(":")
    view = _view(name, views)
    known = view.feature(feature)
    if known is None:
        fix = nearest(feature, [each.name for each in view.features])
        raise NotFound(f"view {name} has no feature {feature!r}", fix=fix)
    return Used(view, known)


def sources(project: Project, name: str) -> dict[str, Digest]:
    """Digest each file of the project that a model's training rests on: its own, the features', dbt's."""
    own = project.own
    files = [own["models"] / f"{name}.py"] if "models" in own else []
    files += [own["features"]] if "features" in own else []
    if "dbt" in own:
        files += [path for path in sorted(own["dbt"].rglob("*")) if path.is_file() and is_code(path, own["dbt"])]
    return {
        path.relative_to(project.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def digest(code: Mapping[str, Digest]) -> Digest:
    """Digest all of a training's code at once: SHA-256 of the canonical JSON of its files' digests."""
    return hashlib.sha256(canonical.dumps(dict(code))).hexdigest()


def _view(name: str, views: Views) -> View:
    view = views.view(name)
    if view is None:
        raise NotFound(f"no view {name!r} in project {views.project}", fix=nearest(name, [v.name for v in views.views]))
    return view
