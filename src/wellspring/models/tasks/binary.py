"""The binary task: a bool label, a calibrated probability of the second label, and a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, JsonValue

from wellspring.models.estimators.port import Objective, ObjectiveKind
from wellspring.models.metrics import binary as metrics
from wellspring.models.metrics import calibration, plots
from wellspring.models.metrics.intervals import PairedComparison, wilson_interval
from wellspring.models.tasks.heuristics import feature_as_output
from wellspring.models.tasks.leakage import MIN_ROWS, split_halves
from wellspring.models.tasks.port import (
    AcceptanceCriteria,
    DecodedOutput,
    Decoder,
    GateFinding,
    TaskLabels,
    failed_finding,
    inconclusive_finding,
)
from wellspring.models.tasks.threshold import Threshold, choose_threshold
from wellspring.records.decisions import DecisionRule, LabelPair, ThresholdRule
from wellspring.records.models import Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

TARGET_LEAKAGE_AUC = 0.97
"""A single feature with a higher AUC is reported as target leakage."""
MIN_ROWS_PER_CLASS = 20
"""A subgroup needs as many rows of each class."""


class BinaryCriteria(AcceptanceCriteria):
    """The limits of a binary candidate.

    auc: for the low end of its 95 % interval. margin: in AUC. subgroup_auc, subgroup_calibration_gap: for each subgroup
    that is large enough.
    """

    auc: float = Field(default=0.6, ge=0, le=1)
    brier: float = Field(default=0.25, ge=0, le=1)
    calibration_error: float = Field(default=0.03, ge=0, le=1)
    calibration_bins: int = Field(default=10, ge=2, le=100)
    test_positives: int = Field(default=100, ge=1)
    subgroup_auc: float = Field(default=0.55, ge=0, le=1)
    subgroup_calibration_gap: float = Field(default=0.06, ge=0, le=1)
    size: dict[str, int] = {"trees": 300, "leaves": 31}


class BinaryDecoder(Frozen):
    """Platt's calibration, and the threshold of the decision."""

    calibration: calibration.PlattCalibration
    decision_rule: ThresholdRule

    def encode_calibration(self) -> dict[str, JsonValue]:
        """Return the calibration as JSON."""
        return self.calibration.model_dump(mode="json")

    def calibrate_rows(self, raw: Array) -> Array:
        """Return the probability of the second label of each row."""
        return calibration.calibrate_scores(self.calibration, raw[:, 0])

    def decode_row(self, raw: Sequence[float]) -> DecodedOutput:
        """Return the probability of the second label, and the decision."""
        score = self.calibration.calibrate_score(raw[0])
        return DecodedOutput(score, self.decision_rule.labels[score >= float(self.decision_rule.threshold)])

    def flag_rows(self, scores: Array) -> Array:
        """Return which rows get the second label."""
        return scores >= float(self.decision_rule.threshold)


class Binary(Frozen):
    """A binary task in a model file. labels: names of the decisions for false and true."""

    name: ClassVar[str] = "binary"
    objective_kind: ClassVar[ObjectiveKind] = "binary"
    main_metric: ClassVar[str] = "auc"
    comparison_title: ClassVar[str] = "AUC"
    higher_is_better: ClassVar[bool] = True
    required_metrics: ClassVar[tuple[str, ...]] = ("auc", "brier", "calibration_error")
    subgroup_figures: ClassVar[tuple[str, ...]] = ("calibration_gap", "positive_share")
    titles: ClassVar[Mapping[str, str]] = {"auc": "AUC", "brier": "Brier score", "positive_share": "flagged"}

    labels: LabelPair
    threshold: Threshold
    acceptance: BinaryCriteria = BinaryCriteria()

    def label_type_error(self, label_type: pa.DataType) -> str | None:
        """Return an error unless the label is a bool."""
        import pyarrow as pa

        return None if pa.types.is_boolean(label_type) else "a label must be a bool"

    def encode_labels(self, values: pa.ChunkedArray, used_rows: Array) -> TaskLabels:
        """Encode labels as bool; a missing label is False, and used_rows have none."""
        import numpy as np

        del used_rows
        encoded: Any = values.combine_chunks().fill_null(False)
        return TaskLabels(np.asarray(encoded.to_numpy(zero_copy_only=False), dtype=bool), self.labels)

    def variety_error(self, labels: Array) -> str | None:
        """Return an error unless there are rows of both classes."""
        return None if len(set(labels.tolist())) == 2 else "do not contain both classes"

    def objective(self, classes: Sequence[str]) -> Objective:
        """Return the objective."""
        return Objective("binary", len(classes))

    def fit_decoder(self, raw: Array, labels: Array, classes: Sequence[str]) -> BinaryDecoder:
        """Fit Platt's calibration, then choose the threshold."""
        del classes
        platt = calibration.fit_platt(raw[:, 0], labels)
        threshold = choose_threshold(self.threshold, calibration.calibrate_scores(platt, raw[:, 0]), labels)
        return BinaryDecoder(calibration=platt, decision_rule=ThresholdRule(labels=self.labels, threshold=threshold))

    @classmethod
    def load_decoder(cls, calibration: Mapping[str, JsonValue], decision_rule: DecisionRule) -> BinaryDecoder:
        """Read a decoder."""
        return BinaryDecoder.model_validate({"calibration": calibration, "decision_rule": decision_rule})

    def measure(self, scores: Array, labels: Array, decoder: Decoder, *, seed: int) -> dict[str, Estimate]:
        """Measure AUC, average precision, Brier score, calibration error, recall and precision."""
        flagged = _flag_rows(decoder, scores)
        return {
            "auc": metrics.estimate_auc(scores, labels),
            "average_precision": metrics.estimate_average_precision(scores, labels, seed=seed),
            "brier": metrics.estimate_brier_score(scores, labels, seed=seed),
            "calibration_error": metrics.estimate_calibration_error(
                scores, labels, bins=self.acceptance.calibration_bins
            ),
            "recall": wilson_interval(int((flagged & labels).sum()), int(labels.sum())),
            "precision": wilson_interval(int((flagged & labels).sum()), int(flagged.sum())),
        }

    def measure_raw(self, raw: Array, labels: Array, *, seed: int) -> Estimate:
        """Measure the AUC, which does not change with calibration."""
        del seed
        return metrics.estimate_auc(raw[:, 0], labels)

    def measure_subgroup(self, scores: Array, labels: Array, decoder: Decoder) -> SubgroupMetrics:
        """Measure AUC, calibration gap and the share of flagged rows."""
        positives, rows = int(labels.sum()), len(labels)
        return SubgroupMetrics(
            column="",
            value="",
            rows=rows,
            enough_rows=min(positives, rows - positives) >= MIN_ROWS_PER_CLASS,
            metrics={"auc": metrics.estimate_auc(scores, labels)} if 0 < positives < rows else {},
            figures={
                "calibration_gap": float(scores.mean() - labels.mean()),
                "positive_share": float(_flag_rows(decoder, scores).mean()),
            },
        )

    def constant_output(self, train_labels: Array, rows: int, classes: Sequence[str]) -> Array:
        """Return the same log odds for each row."""
        import numpy as np

        del train_labels, classes
        return np.zeros((rows, 1))

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
        """Compare the two AUCs with DeLong's test."""
        del decoder, champion_decoder, classes, seed
        return metrics.delong_test(scores, champion_scores, labels)

    def find_target_leak(self, values: Array, labels: Array, *, categorical: bool) -> str | None:
        """Measure the AUC of a feature alone, and of whether it is missing."""
        value_auc = _single_feature_auc(values, labels, categorical=categorical)
        missingness_auc = _missingness_auc(values, labels)
        if max(value_auc, missingness_auc) <= TARGET_LEAKAGE_AUC:
            return None
        if value_auc > TARGET_LEAKAGE_AUC:
            return f"AUC {value_auc:.3f} alone"
        return "whether it is missing determines the label"

    def draw_plots(self, scores: Array, labels: Array, decoder: Decoder) -> dict[str, str]:
        """Draw calibration and ROC."""
        del decoder
        return {
            "calibration": plots.plot_calibration(scores, labels, bins=self.acceptance.calibration_bins),
            "roc": plots.plot_roc(scores, labels),
        }

    def find_missing_classes(self, class_rows: Mapping[str, int]) -> list[GateFinding]:
        """Require enough rows of each class."""
        negatives, positives = (class_rows.get(label, 0) for label in self.labels)
        if min(positives, negatives) < self.acceptance.test_positives:
            message = (
                f"the test rows contain {positives:,} positives; {self.acceptance.test_positives:,} of each class are "
                "required"
            )
            return [inconclusive_finding("test_positives", message, positives)]
        return []

    def check_metrics(self, report: EvaluationReport) -> list[GateFinding]:
        """Check AUC, Brier score and calibration error."""
        findings: list[GateFinding] = []
        criteria = self.acceptance
        auc, brier, error = (report.metrics.get(name) for name in self.required_metrics)
        if auc is not None and auc.low < criteria.auc:
            message = f"its AUC is {auc.value:.3f}, low end {auc.low:.3f}; at least {criteria.auc:.3f} is required"
            findings.append(failed_finding("auc", message))
        if brier is not None and brier.value > criteria.brier:
            message = f"its Brier score is {brier.value:.3f}; at most {criteria.brier:.3f} is allowed"
            findings.append(failed_finding("brier", message))
        if error is not None and error.value > criteria.calibration_error:
            message = f"its calibration error is {error.value:.3f}; at most {criteria.calibration_error:.3f} is allowed"
            findings.append(failed_finding("calibration", message))
        return findings

    def check_subgroup(self, subgroup: SubgroupMetrics) -> list[GateFinding]:
        """Check AUC and calibration gap of a subgroup."""
        criteria = self.acceptance
        name = f"{subgroup.column} = {subgroup.value} ({subgroup.rows:,} rows)"
        findings: list[GateFinding] = []
        auc, gap = subgroup.metrics["auc"].value, subgroup.figures["calibration_gap"]
        if not auc >= criteria.subgroup_auc:
            message = f"for {name} its AUC is {auc:.3f}; at least {criteria.subgroup_auc:.3f} is required"
            findings.append(failed_finding("subgroup_auc", message, column=subgroup.column, count=subgroup.rows))
        if not abs(gap) <= criteria.subgroup_calibration_gap:
            message = (
                f"for {name} its calibration gap is {gap:+.3f}; at most {criteria.subgroup_calibration_gap:.3f} is "
                "allowed"
            )
            findings.append(
                failed_finding("subgroup_calibration_gap", message, column=subgroup.column, count=subgroup.rows)
            )
        return findings

    def describe_rule(self, rule: DecisionRule) -> str:
        """Describe the threshold."""
        assert isinstance(rule, ThresholdRule)
        return f"Predicts *{rule.labels[1]}* from a score of {rule.threshold} on, *{rule.labels[0]}* below it."


def _flag_rows(decoder: Decoder, scores: Array) -> Array:
    assert isinstance(decoder, BinaryDecoder)
    return decoder.flag_rows(scores)


def _single_feature_auc(values: Array, labels: Array, *, categorical: bool) -> float:
    """Measure the AUC of one feature alone, in either direction, on the rows that have a value."""
    import numpy as np

    present = np.isfinite(values)
    values, labels = values[present], labels[present]
    if categorical and len(values):
        # Rates come from one half of the rows and are scored on the other, since rare categories would overfit.
        codes, first_half = values.astype(int), split_halves(len(values))
        counts = np.bincount(codes[first_half], minlength=codes.max() + 1)
        positives = np.bincount(codes[first_half], weights=labels[first_half].astype(float), minlength=codes.max() + 1)
        values, labels = ((positives + 0.5) / (counts + 1.0))[codes][~first_half], labels[~first_half]
    return _undirected_auc(values, labels)


def _missingness_auc(values: Array, labels: Array) -> float:
    import numpy as np

    return _undirected_auc(np.isnan(values).astype(float), labels)


def _undirected_auc(values: Array, labels: Array) -> float:
    if len(labels) < MIN_ROWS or labels.all() or not labels.any():
        return 0.5
    auc = metrics.compute_auc(values, labels)
    return max(auc, 1 - auc)
