"""scikit-learn pipelines: what is accepted, what is refused before anything is fitted, and the contributions."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from wellspring.errors import ProjectError, Refused
from wellspring.models.estimators.port import FeatureColumns, FitSettings, LabeledRows, Objective
from wellspring.models.estimators.sklearn.estimator import SklearnModel, SklearnPipeline

COLUMNS = FeatureColumns(("view__amount", "view__kind", "view__rate"), (1,))
BINARY, MULTICLASS = Objective("binary", 2), Objective("multiclass", 3)


def labeled_rows(rows: int = 600) -> LabeledRows:
    rng = np.random.default_rng(4)
    features = np.column_stack([rng.normal(size=rows), rng.integers(0, 4, rows), rng.random(rows)])
    features[rng.random(rows) < 0.05, 0] = math.nan
    features[rng.random(rows) < 0.05, 1] = math.nan
    return LabeledRows(features, np.nan_to_num(features[:, 0]) + (features[:, 1] == 3) > 0.3)


def fit(*steps: Any, objective: Objective = BINARY, rows: LabeledRows | None = None, **settings: Any) -> SklearnModel:
    estimator = SklearnPipeline(pipeline=make_pipeline(*steps), **settings)
    return estimator.fit(rows or labeled_rows(), COLUMNS, objective, FitSettings({}, 0, estimator.seed))


class OwnStep(TransformerMixin, BaseEstimator):
    """A step of the team's own code."""

    fitted = False

    def fit(self, rows: Any, labels: Any = None) -> "OwnStep":
        OwnStep.fitted = True
        return self

    def transform(self, rows: Any) -> Any:
        return rows


class OwnClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of the team's own code."""

    def fit(self, rows: Any, labels: Any) -> "OwnClassifier":
        OwnStep.fitted = True
        return self

    def predict(self, rows: Any) -> Any:
        return rows


@pytest.mark.parametrize("steps", [(OwnStep(), SimpleImputer(), LogisticRegression()), (OwnClassifier(),)])
def test_a_step_of_own_code_is_refused_by_name_before_it_is_fitted(steps: tuple[Any, ...]):
    OwnStep.fitted = False
    with pytest.raises(Refused, match=r"Own(Step|Classifier)"):
        fit(*steps)
    assert not OwnStep.fitted


def test_a_function_of_own_code_is_refused():
    with pytest.raises(Refused, match="pipeline"):
        fit(SimpleImputer(), FunctionTransformer(lambda rows: rows), LogisticRegression())


def test_trees_are_refused_because_their_file_would_not_be_read():
    with pytest.raises(Refused, match=r"sklearn\.tree\._tree\.Tree") as refusal:
        fit(SimpleImputer(), RandomForestClassifier(5, random_state=1))
    assert "Onnx(pipeline=...)" in refusal.value.fix


def test_a_pipeline_without_imputation_is_refused():
    with pytest.raises(Refused, match="does not accept missing values"):
        fit(StandardScaler(), LogisticRegression())
    complete = LabeledRows(np.nan_to_num(labeled_rows().features), labeled_rows().labels)
    with pytest.raises(Refused, match="no finite output for a row of missing values"):
        fit(StandardScaler(), LogisticRegression(), rows=complete)


@pytest.mark.parametrize("last", [GaussianNB(), SVC(), LinearSVC(), SGDClassifier()])
def test_one_row_gives_the_bits_of_many_and_the_same_bytes_again(last: Any):
    model = fit(SimpleImputer(), StandardScaler(), last)
    rows = labeled_rows().features
    assert [list(model.predict_row(row)) for row in rows[:30].tolist()] == model.predict_rows(rows)[:30].tolist()
    assert model.dump() == fit(SimpleImputer(), StandardScaler(), last).dump()


def test_steps_that_combine_columns_have_no_contributions():
    model = fit(SimpleImputer(), PCA(2), LogisticRegression())
    rows = labeled_rows().features[:20]
    assert model.explain_row(rows[0].tolist(), 0) is None
    assert [list(model.predict_row(row)) for row in rows.tolist()] == model.predict_rows(rows).tolist()


def test_contributions_are_coefficient_times_value_summed_per_feature():
    model = fit(SimpleImputer(), StandardScaler(), LogisticRegression())
    rows = labeled_rows().features[:40].tolist()
    constants = {round(model.predict_row(row)[0] - sum(model.explain_row(row, 0) or ()), 9) for row in rows}
    assert len(constants) == 1
    assert len(model.explain_row(rows[0], 0) or ()) == 3


def test_one_hot_names_choose_the_categories():
    one_hot = fit(SimpleImputer(), LogisticRegression(), one_hot=("view:kind",))
    codes = fit(SimpleImputer(), LogisticRegression(), one_hot=())
    assert one_hot.dump() == fit(SimpleImputer(), LogisticRegression()).dump() != codes.dump()
    kinds = [[0.1, float(kind), 0.5] for kind in range(4)]
    steps = np.diff([codes.predict_row(row)[0] for row in kinds])
    assert np.ptp(steps) < 1e-9
    assert np.ptp(np.diff([one_hot.predict_row(row)[0] for row in kinds])) > 0.5
    with pytest.raises(ProjectError, match="view__amount, which is a number"):
        fit(SimpleImputer(), LogisticRegression(), one_hot=("view:amount",))


def test_an_unknown_category_has_a_prediction():
    model = fit(SimpleImputer(), LogisticRegression())
    assert math.isfinite(model.predict_row([0.1, 17.0, 0.5])[0])


def test_a_class_without_train_rows_gets_the_lowest_score():
    rows = labeled_rows()
    two_of_three = LabeledRows(rows.features, np.where(rows.labels, 2, 0))
    for last in (LogisticRegression(), GaussianNB()):
        raw = fit(SimpleImputer(), last, objective=MULTICLASS, rows=two_of_three).predict_rows(rows.features[:50])
        assert raw.shape == (50, 3)
        assert (raw[:, 1] <= raw.min(axis=1)).all()


def test_the_seed_goes_to_steps_without_one_and_jobs_are_one():
    first = fit(SimpleImputer(), StandardScaler(), SGDClassifier(n_jobs=2), seed=1)
    second = fit(SimpleImputer(), StandardScaler(), SGDClassifier(), seed=2)
    own = [fit(SimpleImputer(), SGDClassifier(random_state=5), seed=seed).dump() for seed in (1, 2)]
    rows = labeled_rows().features[:5]
    assert first.predict_rows(rows).tolist() != second.predict_rows(rows).tolist()
    assert own[0] == own[1]


def test_the_last_step_decides_which_objectives_are_supported():
    classifier, regressor = SklearnPipeline(pipeline=LogisticRegression()), SklearnPipeline(pipeline=Ridge())
    assert [classifier.supports(kind) for kind in ("binary", "multiclass", "regression")] == [True, True, False]
    assert [regressor.supports(kind) for kind in ("binary", "multiclass", "regression")] == [False, False, True]


@pytest.mark.parametrize("value", [LogisticRegression, "LogisticRegression", None])
def test_what_is_not_a_pipeline_is_an_error_of_the_model_file(value: Any):
    with pytest.raises(ValidationError, match="scikit-learn estimator or pipeline"):
        SklearnPipeline(pipeline=value)
