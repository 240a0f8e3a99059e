"""The LightGBM estimator: gradient boosted trees. One seed and one build of LightGBM give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from wellspring.errors import CorruptedError, package_missing
from wellspring.models.estimators.port import (
    FeatureColumns,
    FitSettings,
    Hyperparameters,
    LabeledRows,
    Objective,
    ObjectiveKind,
    TunedModel,
    TuningProgress,
)
from wellspring.models.estimators.search import (
    REPORT_INTERVAL,
    HyperparameterSearch,
    LossReport,
    search_hyperparameters,
)
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import lightgbm
    import numpy as np

    Array = np.ndarray[Any, Any]
    Booster = lightgbm.Booster

NUM_THREADS = 1
"""One thread: more threads would spin on a machine that also serves predictions, and one is fast enough."""
EARLY_STOPPING_ROUNDS = 40
"""Training stops after this many rounds without a lower validation loss."""
_OBJECTIVES = {
    "binary": ("binary", "binary_logloss"),
    "multiclass": ("multiclass", "multi_logloss"),
    "regression": ("regression", "l2"),
}
"""LightGBM's objective and validation loss by kind of objective."""


class LightGBM(Frozen):
    """LightGBM in a model file. search: the hyperparameter search; its seed is that of the model."""

    name: ClassVar[str] = "lightgbm"
    file_name: ClassVar[str] = "model.lgb"
    attribution: ClassVar[str] = "TreeSHAP: the contribution of each feature to the raw score"
    fits_any_columns: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("lightgbm",)

    search: HyperparameterSearch = HyperparameterSearch()

    @property
    def seed(self) -> int:
        return self.search.seed

    def supports(self, objective: ObjectiveKind) -> bool:
        """Return whether it can learn an objective."""
        return objective in _OBJECTIVES

    def tune(
        self,
        train: LabeledRows,
        validation: LabeledRows,
        columns: FeatureColumns,
        objective: Objective,
        *,
        hyperparameters: Hyperparameters | None,
        progress: TuningProgress,
    ) -> TunedModel:
        """Search hyperparameters on the newest train rows, then choose the rounds by early stopping."""
        if hyperparameters is None:
            newest = LabeledRows(train.features[-self.search.rows :], train.labels[-self.search.rows :])

            def measure_loss(trial: Hyperparameters, report: LossReport) -> float:
                settings = FitSettings(trial, self.search.rounds, self.search.seed)
                booster = fit_booster(newest, columns, objective, settings, validation=validation, on_iteration=report)
                return float(next(iter(booster.best_score["validation"].values())))

            hyperparameters = search_hyperparameters(measure_loss, self.search, progress=progress)
        losses: list[float] = []
        booster = fit_booster(
            train,
            columns,
            objective,
            FitSettings(hyperparameters, self.search.rounds, self.seed),
            validation=validation,
            losses=losses,
        )
        settings = FitSettings(hyperparameters, get_best_iteration(booster), self.seed)
        return TunedModel(settings, LightGBMModel(booster), {f"validation_{_OBJECTIVES[objective.kind][1]}": losses})

    def fit(
        self, rows: LabeledRows, columns: FeatureColumns, objective: Objective, settings: FitSettings
    ) -> LightGBMModel:
        """Fit `settings.rounds` rounds on all rows."""
        return LightGBMModel(fit_booster(rows, columns, objective, settings))

    @classmethod
    def load_model(cls, content: bytes) -> LightGBMModel:
        """Read LightGBM's text. Raises CorruptedError when LightGBM rejects it, Unavailable without the package."""
        try:
            booster_text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise CorruptedError(f"{cls.file_name} is not text", fix="stop; train the model again") from None
        return LightGBMModel(load_booster(booster_text))


class LightGBMModel:
    """A booster in memory."""

    def __init__(self, booster: Booster) -> None:
        self.booster = booster
        self._outputs = int(booster.num_model_per_iteration())

    def predict_rows(self, rows: Array) -> Array:
        """Return the raw scores."""
        import numpy as np

        raw = np.asarray(self.booster.predict(rows, raw_score=True, num_threads=NUM_THREADS))
        return raw.reshape(len(rows), self._outputs)

    def predict_row(self, row: Sequence[float]) -> tuple[float, ...]:
        """Return the raw score of one row, per class."""
        import numpy as np

        raw = self.booster.predict(np.array([row], dtype=float), raw_score=True, num_threads=1)
        return tuple(np.asarray(raw).reshape(-1).tolist())

    def explain_row(self, row: Sequence[float], output: int) -> list[float]:
        """Return the contribution of each feature to one raw score (TreeSHAP), in the order of the features."""
        import numpy as np

        values = np.asarray(self.booster.predict(np.array([row], dtype=float), pred_contrib=True, num_threads=1))
        # The last value of each output is its constant.
        contributions = values.reshape(self._outputs, -1)[output][:-1]
        return [float(value) for value in contributions]

    def importance(self) -> list[float]:
        """Return the total loss reduction of each feature's splits during training."""
        return [float(gain) for gain in self.booster.feature_importance("gain")]

    def size(self) -> dict[str, int]:
        """Count the trees, and the leaves of the largest."""
        leaves = [
            int(line.partition("=")[2])
            for line in dump_booster(self.booster).splitlines()
            if line.startswith("num_leaves=")
        ]
        return {"trees": len(leaves), "leaves": max(leaves, default=0)}

    def dump(self) -> bytes:
        """Write LightGBM's text format, which contains no code."""
        return dump_booster(self.booster).encode()


def fit_booster(
    rows: LabeledRows,
    columns: FeatureColumns,
    objective: Objective,
    settings: FitSettings,
    *,
    validation: LabeledRows | None = None,
    on_iteration: LossReport | None = None,
    losses: list[float] | None = None,
) -> Booster:
    """Train `settings.rounds` rounds. validation: rows for early stopping.

    columns: names of letters, digits and underscores. on_iteration: called with the validation loss every
    REPORT_INTERVAL rounds. losses: receives the validation loss of each round. The same rows and settings give the
    same text.
    """
    import lightgbm

    parameters = _parameters(objective, settings, with_validation=validation is not None)
    train_set = lightgbm.Dataset(
        rows.features,
        rows.labels.astype(float),
        feature_name=list(columns.names),
        categorical_feature=list(columns.categorical),
        params=parameters,
    )
    if validation is None:
        return lightgbm.train(parameters, train_set, num_boost_round=settings.rounds)
    validation_set = train_set.create_valid(validation.features, validation.labels.astype(float))
    callbacks: list[Any] = [lightgbm.early_stopping(EARLY_STOPPING_ROUNDS, verbose=False)]
    if on_iteration is not None:
        callbacks.append(_progress_callback(on_iteration))
    if losses is not None:
        callbacks.append(_loss_callback(losses))
    return lightgbm.train(
        parameters,
        train_set,
        num_boost_round=settings.rounds,
        valid_sets=[validation_set],
        valid_names=["validation"],
        callbacks=callbacks,
    )


def dump_booster(booster: Booster) -> str:
    """Write a booster as LightGBM's text format, which contains no code."""
    return booster.model_to_string(num_iteration=-1)


def load_booster(booster_text: str) -> Booster:
    """Read a booster's text. Raises CorruptedError when LightGBM rejects it, Unavailable without the package."""
    try:
        import lightgbm
    except ImportError:
        raise package_missing("lightgbm", extra="models") from None
    if not booster_text.startswith("tree\n"):
        raise CorruptedError("the model file is not LightGBM text", fix="stop; train the model again")
    try:
        return lightgbm.Booster(model_str=booster_text)
    except lightgbm.basic.LightGBMError:
        raise CorruptedError("LightGBM rejects the model file", fix="stop; train the model again") from None


def get_best_iteration(booster: Booster) -> int:
    """Return the number of rounds with the lowest validation loss; all of them without early stopping."""
    return int(booster.best_iteration) if booster.best_iteration > 0 else int(booster.current_iteration())


def _parameters(objective: Objective, settings: FitSettings, *, with_validation: bool) -> dict[str, Any]:
    lightgbm_objective, metric = _OBJECTIVES[objective.kind]
    return {
        **settings.hyperparameters,
        "objective": lightgbm_objective,
        "metric": metric if with_validation else "none",
        "verbosity": -1,
        "seed": settings.seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": NUM_THREADS,
        "max_bin": 127,
        "bin_construct_sample_cnt": 200_000,
        "feature_pre_filter": False,
        **({"num_class": objective.classes} if objective.kind == "multiclass" else {}),
    }


def _progress_callback(on_iteration: LossReport) -> Callable[[Any], None]:
    def report_progress(environment: Any) -> None:
        if (environment.iteration + 1) % REPORT_INTERVAL == 0:
            on_iteration(environment.iteration + 1, float(environment.evaluation_result_list[0][2]))

    return report_progress


def _loss_callback(losses: list[float]) -> Callable[[Any], None]:
    def record_loss(environment: Any) -> None:
        losses.append(float(environment.evaluation_result_list[0][2]))

    return record_loss
