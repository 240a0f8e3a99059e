"""The regression task: a number, with an interval from the residuals of later rows (split conformal)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from wellspring.models.estimators.port import Objective, ObjectiveKind
from wellspring.models.metrics import plots
from wellspring.models.metrics.intervals import (
    PairedComparison,
    bootstrap_estimate,
    compare_by_bootstrap,
    wilson_interval,
)
from wellspring.models.tasks.heuristics import feature_as_output
from wellspring.models.tasks.leakage import MIN_ROWS, assign_value_groups, split_halves
from wellspring.models.tasks.port import (
    AcceptanceCriteria,
    DecodedOutput,
    Decoder,
    GateFinding,
    TaskLabels,
    failed_finding,
)
from wellspring.records.decisions import (
    DecisionRule,
    LabelPair,
    ProbabilityText,
    SignedDecimalText,
    ValueRule,
    check_value_threshold,
)
from wellspring.records.models import Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

TARGET_LEAKAGE_R2 = 0.97
"""A single feature that explains a larger share of the variance is reported as target leakage."""
MIN_SUBGROUP_ROWS = 30


class RegressionCriteria(AcceptanceCriteria):
    """The limits of a regression candidate.

    r2: for the low end of its 95 % interval. mae, rmse: without a limit unless given. coverage_gap: between the share
    of outcomes inside the interval and the intended coverage. subgroup_bias: the mean residual of a subgroup, and
    margin: the MAE above that of the live model, both as shares of the standard deviation of the labels.
    """

    r2: float = Field(default=0.0, le=1)
    mae: float | None = Field(default=None, gt=0)
    rmse: float | None = Field(default=None, gt=0)
    coverage_gap: float = Field(default=0.05, ge=0, le=1)
    subgroup_bias: float = Field(default=0.25, ge=0)
    size: dict[str, int] = {"trees": 300, "leaves": 31}


class ConformalCalibration(Frozen):
    """The interval is fitted, and the value is left as it is; the half width is part of the decision rule."""

    kind: Literal["conformal"] = "conformal"


class RegressionDecoder(Frozen):
    """The value itself, its interval, and an optional threshold."""

    calibration: ConformalCalibration
    decision_rule: ValueRule

    def encode_calibration(self) -> dict[str, JsonValue]:
        """Return the calibration as JSON."""
        return self.calibration.model_dump(mode="json")

    def calibrate_rows(self, raw: Array) -> Array:
        """Return the value of each row."""
        return raw[:, 0]

    def decode_row(self, raw: Sequence[float]) -> DecodedOutput:
        """Return the value, its interval, and the decision if the rule has a threshold."""
        score, half_width, rule = raw[0] + 0.0, float.fromhex(self.decision_rule.half_width), self.decision_rule
        decision = ""
        if rule.threshold is not None and rule.labels is not None:
            decision = rule.labels[score >= float(rule.threshold)]
        return DecodedOutput(score, decision, interval=(score - half_width, score + half_width))


class Regression(Frozen):
    """A regression in a model file.

    coverage: the share of outcomes that the interval is made to contain. threshold and labels: the second label for a
    value at or above the threshold; without them a prediction has no decision.
    """

    name: ClassVar[str] = "regression"
    objective_kind: ClassVar[ObjectiveKind] = "regression"
    main_metric: ClassVar[str] = "mae"
    comparison_title: ClassVar[str] = "gain in MAE, in standard deviations of the label"
    higher_is_better: ClassVar[bool] = False
    required_metrics: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2", "coverage")
    subgroup_figures: ClassVar[tuple[str, ...]] = ("bias", "relative_bias")
    titles: ClassVar[Mapping[str, str]] = {"mae": "MAE", "rmse": "RMSE", "r2": "R2", "coverage": "interval coverage"}

    coverage: ProbabilityText = "0.90"
    labels: LabelPair | None = None
    threshold: SignedDecimalText | None = None
    acceptance: RegressionCriteria = RegressionCriteria()

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        check_value_threshold(self.labels, self.threshold)
        return self

    def label_type_error(self, label_type: pa.DataType) -> str | None:
        """Return an error unless the label is a number."""
        import pyarrow as pa

        is_number = pa.types.is_floating(label_type) or pa.types.is_integer(label_type)
        return None if is_number or pa.types.is_decimal(label_type) else "a label of a regression must be a number"

    def encode_labels(self, values: pa.ChunkedArray, used_rows: Array) -> TaskLabels:
        """Encode labels as floats. Raises ValueError for NaN and infinities among the used rows."""
        import numpy as np
        import pyarrow as pa

        cast: Any = values.cast(pa.float64(), safe=False).combine_chunks().fill_null(math.nan)
        encoded = np.asarray(cast.to_numpy(zero_copy_only=False), dtype=float)
        if invalid := int((~np.isfinite(encoded[used_rows])).sum()):
            raise ValueError(f"has {invalid:,} values that are not finite numbers")
        return TaskLabels(encoded, ())

    def variety_error(self, labels: Array) -> str | None:
        """Return an error unless there are at least two values."""
        return None if len(labels) and labels.min() < labels.max() else "have only one value of the label"

    def objective(self, classes: Sequence[str]) -> Objective:
        """Return the objective."""
        return Objective("regression", len(classes))

    def fit_decoder(self, raw: Array, labels: Array, classes: Sequence[str]) -> RegressionDecoder:
        """Choose the half width: the quantile of the absolute residuals with the finite-sample correction."""
        import numpy as np

        del classes
        residuals = np.sort(np.abs(labels - raw[:, 0]))
        rank = min(len(residuals), math.ceil((len(residuals) + 1) * float(self.coverage)))
        rule = ValueRule(
            coverage=self.coverage,
            half_width=float(residuals[rank - 1]).hex(),
            labels=self.labels,
            threshold=self.threshold,
        )
        return RegressionDecoder(calibration=ConformalCalibration(), decision_rule=rule)

    @classmethod
    def load_decoder(cls, calibration: Mapping[str, JsonValue], decision_rule: DecisionRule) -> RegressionDecoder:
        """Read a decoder."""
        return RegressionDecoder.model_validate({"calibration": calibration, "decision_rule": decision_rule})

    def measure(self, scores: Array, labels: Array, decoder: Decoder, *, seed: int) -> dict[str, Estimate]:
        """Measure MAE, RMSE, R2 and the coverage of the interval."""
        import numpy as np

        residuals, rows = labels - scores, len(labels)
        total = (labels - labels.mean()) ** 2
        half_width = float.fromhex(_value_rule(decoder).half_width)

        def explained_share(weights: Array) -> float:
            spread = float((weights * total).sum())
            return 1 - float((weights * residuals**2).sum()) / spread if spread else math.nan

        return {
            "mae": bootstrap_estimate(lambda weights: _mean(weights, np.abs(residuals)), rows, seed),
            "rmse": bootstrap_estimate(lambda weights: math.sqrt(_mean(weights, residuals**2)), rows, seed),
            "r2": bootstrap_estimate(explained_share, rows, seed),
            "coverage": wilson_interval(int((np.abs(residuals) <= half_width).sum()), rows),
        }

    def measure_raw(self, raw: Array, labels: Array, *, seed: int) -> Estimate:
        """Measure the MAE."""
        errors = abs(labels - raw[:, 0])
        return bootstrap_estimate(lambda weights: _mean(weights, errors), len(labels), seed)

    def measure_subgroup(self, scores: Array, labels: Array, decoder: Decoder) -> SubgroupMetrics:
        """Measure MAE and the mean residual; relative_bias: by the standard deviation of the subgroup's labels."""
        del decoder
        rows, bias, spread = len(labels), float((labels - scores).mean()), float(labels.std())
        return SubgroupMetrics(
            column="",
            value="",
            rows=rows,
            enough_rows=rows >= MIN_SUBGROUP_ROWS and spread > 0,
            metrics={"mae": self.measure_raw(scores.reshape(-1, 1), labels, seed=0)},
            figures={"bias": bias, "relative_bias": bias / spread if spread else 0.0},
        )

    def constant_output(self, train_labels: Array, rows: int, classes: Sequence[str]) -> Array:
        """Return the median of the train rows, which has the smallest MAE of all constants."""
        import numpy as np

        del classes
        return np.full((rows, 1), float(np.median(train_labels)))

    def heuristic_output(
        self, values: Array, train_values: Array, categories: Sequence[str], classes: Sequence[str]
    ) -> Array:
        """Return the feature itself; a missing value becomes the median of the train rows."""
        del categories, classes
        return feature_as_output(values, train_values)

    def compare_scores(
        self,
        scores: Array,
        decoder: Decoder,
        champion_scores: Array,
        champion_decoder: Decoder,
        labels: Array,
        classes: Sequence[str],
        *,
        seed: int,
    ) -> PairedComparison:
        """Compare the MAE by paired bootstrap, as a share of the standard deviation of the labels."""
        del decoder, champion_decoder, classes
        gains = (abs(labels - champion_scores) - abs(labels - scores)) / (float(labels.std()) or 1.0)
        return compare_by_bootstrap(lambda weights: _mean(weights, gains), len(labels), seed)

    def find_target_leak(self, values: Array, labels: Array, *, categorical: bool) -> str | None:
        """Measure the share of the variance that the groups of rows with the same value explain."""
        import numpy as np

        if len(labels) < MIN_ROWS:
            return None
        groups, first = assign_value_groups(values, categorical=categorical), split_halves(len(labels))
        counts = np.bincount(groups[first], minlength=groups.max() + 1)
        sums = np.bincount(groups[first], weights=labels[first], minlength=groups.max() + 1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), labels[first].mean())
        spread = float(((labels[~first] - labels[~first].mean()) ** 2).sum())
        share = 1 - float(((labels[~first] - means[groups[~first]]) ** 2).sum()) / spread if spread else 0.0
        return f"R2 {share:.3f} alone" if share > TARGET_LEAKAGE_R2 else None

    def draw_plots(self, scores: Array, labels: Array, decoder: Decoder) -> dict[str, str]:
        """Draw predicted against observed values."""
        del decoder
        return {"predictions": plots.plot_predictions(scores, labels)}

    def find_missing_classes(self, class_rows: Mapping[str, int]) -> list[GateFinding]:
        """Require nothing: a regression has no classes."""
        del class_rows
        return []

    def check_metrics(self, report: EvaluationReport) -> list[GateFinding]:
        """Check R2, MAE, RMSE and the coverage of the interval."""
        findings: list[GateFinding] = []
        r2, coverage = report.metrics.get("r2"), report.metrics.get("coverage")
        if r2 is not None and not r2.low >= self.acceptance.r2:
            message = f"its R2 is {r2.value:.3f}, low end {r2.low:.3f}; at least {self.acceptance.r2:.3f} is required"
            findings.append(failed_finding("r2", message))
        for name, limit in (("mae", self.acceptance.mae), ("rmse", self.acceptance.rmse)):
            metric = report.metrics.get(name)
            if metric is not None and limit is not None and not metric.value <= limit:
                message = f"its {self.titles[name]} is {metric.value:.3f}; at most {limit:.3f} is allowed"
                findings.append(failed_finding(name, message))
        if coverage is not None and not abs(coverage.value - float(self.coverage)) <= self.acceptance.coverage_gap:
            message = (
                f"its interval contains {coverage.value:.3f} of the outcomes; {self.coverage} is intended, within "
                f"{self.acceptance.coverage_gap:.3f}"
            )
            findings.append(failed_finding("coverage", message))
        return findings

    def check_subgroup(self, subgroup: SubgroupMetrics) -> list[GateFinding]:
        """Check the mean residual of a subgroup."""
        bias = subgroup.figures["relative_bias"]
        if abs(bias) <= self.acceptance.subgroup_bias:
            return []
        message = (
            f"for {subgroup.column} = {subgroup.value} ({subgroup.rows:,} rows) its mean residual is {bias:+.3f} "
            f"standard deviations; at most {self.acceptance.subgroup_bias:.3f} is allowed"
        )
        return [failed_finding("subgroup_bias", message, column=subgroup.column, count=subgroup.rows)]

    def describe_rule(self, rule: DecisionRule) -> str:
        """Describe interval and threshold."""
        assert isinstance(rule, ValueRule)
        interval = (
            f"Predicts a number; {rule.coverage} of the outcomes are meant to lie within "
            f"{float.fromhex(rule.half_width):.4g} of it."
        )
        if rule.labels is None:
            return interval
        return f"{interval} *{rule.labels[1]}* from {rule.threshold} on, *{rule.labels[0]}* below it."


def _value_rule(decoder: Decoder) -> ValueRule:
    rule = decoder.decision_rule
    assert isinstance(rule, ValueRule)
    return rule


def _mean(weights: Array, values: Array) -> float:
    return float((weights * values).sum() / weights.sum())
