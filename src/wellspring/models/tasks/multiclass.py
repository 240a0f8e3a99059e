"""The multiclass task: text labels, one calibrated probability per class, and the most likely class as decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from wellspring.errors import ProjectError
from wellspring.models.estimators.port import Objective, ObjectiveKind
from wellspring.models.metrics import binary as binary_metrics
from wellspring.models.metrics import multiclass as metrics
from wellspring.models.metrics import plots
from wellspring.models.metrics.intervals import PairedComparison, compare_by_bootstrap, wilson_interval
from wellspring.models.tasks.leakage import MIN_ROWS, assign_value_groups, split_halves
from wellspring.models.tasks.port import (
    AcceptanceCriteria,
    DecodedOutput,
    Decoder,
    GateFinding,
    TaskLabels,
    failed_finding,
    inconclusive_finding,
)
from wellspring.records.decisions import (
    MAX_LABEL_LENGTH,
    MAX_PROBABILITIES,
    ClassLabels,
    ClassThresholdText,
    DecisionRule,
    LabelText,
    MostLikelyRule,
    check_class_thresholds,
)
from wellspring.records.models import Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import Frozen
from wellspring.records.tokens import TOKEN_PATTERN

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

MAX_CLASSES = 2000
TARGET_LEAKAGE_SHARE = 0.9
"""A single feature that corrects a larger share of the errors of the most frequent class is reported as leakage."""
MIN_SUBGROUP_ROWS = 40


class MulticlassCriteria(AcceptanceCriteria):
    """The limits of a multiclass candidate.

    macro_f1: for the low end of its 95 % interval. margin: in macro F1. calibration_error: of the probability of the
    most likely class. class_rows: test rows that each class needs.
    """

    margin: float = Field(default=0.02, ge=0)
    macro_f1: float = Field(default=0.3, ge=0, le=1)
    log_loss: float | None = Field(default=None, gt=0)
    calibration_error: float = Field(default=0.05, ge=0, le=1)
    class_rows: int = Field(default=20, ge=1)
    subgroup_macro_f1: float = Field(default=0.2, ge=0, le=1)
    subgroup_calibration_gap: float = Field(default=0.1, ge=0, le=1)
    size: dict[str, int] = {"trees": 3000, "leaves": 31}


class TemperatureCalibration(Frozen):
    """Divide the raw outputs by a temperature before the softmax. temperature: float.hex()."""

    kind: Literal["temperature"] = "temperature"
    temperature: str

    @model_validator(mode="after")
    def _check_temperature(self) -> Self:
        if not self.value > 0:
            raise ValueError("the temperature must be positive")
        return self

    @property
    def value(self) -> float:
        return float.fromhex(self.temperature)


class MulticlassDecoder(Frozen):
    """Temperature scaling, and the rule of the most likely class."""

    calibration: TemperatureCalibration
    decision_rule: MostLikelyRule

    def encode_calibration(self) -> dict[str, JsonValue]:
        """Return the calibration as JSON."""
        return self.calibration.model_dump(mode="json")

    def calibrate_rows(self, raw: Array) -> Array:
        """Return the probability of each class, one line per row."""
        return metrics.softmax_rows(raw, self.calibration.value)

    def decode_row(self, raw: Sequence[float]) -> DecodedOutput:
        """Return the decision, its probability, and the most likely classes."""
        labels, rule = self.decision_rule.labels, self.decision_rule
        probabilities = metrics.softmax_row(list(raw), self.calibration.value)
        ranked = sorted(range(len(labels)), key=lambda number: (-probabilities[number], number))
        decided = next(
            (number for number in ranked if probabilities[number] >= float(rule.thresholds.get(labels[number], "0"))),
            labels.index(rule.otherwise) if rule.otherwise else ranked[0],
        )
        listed = ranked[:MAX_PROBABILITIES]
        if decided not in listed:
            listed = [*listed[:-1], decided]
        pairs = tuple((labels[number], probabilities[number]) for number in listed)
        return DecodedOutput(probabilities[decided], labels[decided], decided, probabilities=pairs)

    def decide_rows(self, scores: Array) -> Array:
        """Return the class number of each row by the decision rule."""
        import numpy as np

        labels, rule = self.decision_rule.labels, self.decision_rule
        if not rule.thresholds:
            return scores.argmax(axis=1)
        limits = np.array([float(rule.thresholds.get(label, "0")) for label in labels])
        reached = np.where(scores >= limits, scores, -1.0)
        return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), labels.index(rule.otherwise))


class Multiclass(Frozen):
    """A multiclass task in a model file.

    labels: all classes; without them, those of the train and test rows. thresholds: by label, the probability that it
    needs to be decided; otherwise: the label if no class reaches its threshold.
    """

    name: ClassVar[str] = "multiclass"
    objective_kind: ClassVar[ObjectiveKind] = "multiclass"
    main_metric: ClassVar[str] = "macro_f1"
    comparison_title: ClassVar[str] = "macro F1"
    higher_is_better: ClassVar[bool] = True
    required_metrics: ClassVar[tuple[str, ...]] = ("macro_f1", "log_loss", "auc", "calibration_error")
    subgroup_figures: ClassVar[tuple[str, ...]] = ("calibration_gap", "accuracy")
    titles: ClassVar[Mapping[str, str]] = {"macro_f1": "macro F1", "auc": "mean AUC, one class against the others"}

    labels: ClassLabels | tuple[()] = ()
    thresholds: dict[LabelText, ClassThresholdText] = {}
    otherwise: str = ""
    acceptance: MulticlassCriteria = MulticlassCriteria()

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        # Without labels, `encode_labels` compares them with the classes of the data.
        check_class_thresholds(self.labels or (*self.thresholds, self.otherwise), self.thresholds, self.otherwise)
        return self

    def label_type_error(self, label_type: pa.DataType) -> str | None:
        """Return an error unless the label is text."""
        import pyarrow as pa

        is_text = pa.types.is_string(label_type) or pa.types.is_large_string(label_type)
        return None if is_text else "a label of several classes must be text"

    def encode_labels(self, values: pa.ChunkedArray, used_rows: Array) -> TaskLabels:
        """Encode labels as class numbers.

        Raises ValueError for tokens, class names that are empty or too long, too many or undeclared classes, and for a
        threshold of a class that does not occur.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        text = values.cast(pa.string())
        occurring = sorted(pc.unique(text.take(pa.array(used_rows))).drop_null().to_pylist())
        if any(TOKEN_PATTERN.fullmatch(label) for label in occurring):
            raise ValueError("contains tokens, and a model must not store tokens")
        if len(occurring) > MAX_CLASSES:
            raise ValueError(f"has {len(occurring):,} classes; at most {MAX_CLASSES:,} are supported")
        if self.labels and (undeclared := set(occurring) - set(self.labels)):
            raise ValueError(f"has {len(undeclared)} classes that labels=(...) does not name")
        if not all(0 < len(label) <= MAX_LABEL_LENGTH for label in occurring):
            raise ValueError(f"has a class whose name is empty or longer than {MAX_LABEL_LENGTH} characters")
        classes = self.labels or tuple(occurring)
        if not {*self.thresholds, self.otherwise} <= {*classes, ""}:
            raise ValueError("does not have all classes that thresholds=... and otherwise=... name")
        numbers: Any = pc.index_in(text, value_set=pa.array(classes, pa.string())).combine_chunks().fill_null(0)
        return TaskLabels(np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=int), classes)

    def variety_error(self, labels: Array) -> str | None:
        """Return an error unless there are at least two classes."""
        return None if len(set(labels.tolist())) > 1 else "contain only one class"

    def objective(self, classes: Sequence[str]) -> Objective:
        """Return the objective."""
        return Objective("multiclass", len(classes))

    def fit_decoder(self, raw: Array, labels: Array, classes: Sequence[str]) -> MulticlassDecoder:
        """Fit the temperature."""
        rule = MostLikelyRule(labels=tuple(classes), thresholds=self.thresholds, otherwise=self.otherwise)
        calibration = TemperatureCalibration(temperature=metrics.fit_temperature(raw, labels).hex())
        return MulticlassDecoder(calibration=calibration, decision_rule=rule)

    @classmethod
    def load_decoder(cls, calibration: Mapping[str, JsonValue], decision_rule: DecisionRule) -> MulticlassDecoder:
        """Read a decoder."""
        return MulticlassDecoder.model_validate({"calibration": calibration, "decision_rule": decision_rule})

    def measure(self, scores: Array, labels: Array, decoder: Decoder, *, seed: int) -> dict[str, Estimate]:
        """Measure macro F1, log loss, mean AUC, accuracy, and the calibration error of the most likely class."""
        classes, decided = scores.shape[1], _decide(decoder, scores)
        top, hits = scores.max(axis=1), scores.argmax(axis=1) == labels
        return {
            "macro_f1": metrics.estimate_macro_f1(decided, labels, classes=classes, seed=seed),
            "log_loss": metrics.estimate_log_loss(scores, labels, seed=seed),
            "auc": metrics.estimate_macro_auc(scores, labels),
            "accuracy": wilson_interval(int((decided == labels).sum()), len(labels)),
            "calibration_error": binary_metrics.estimate_calibration_error(top, hits, bins=10),
        }

    def measure_raw(self, raw: Array, labels: Array, *, seed: int) -> Estimate:
        """Measure the macro F1 of the largest raw outputs."""
        return metrics.estimate_macro_f1(raw.argmax(axis=1), labels, classes=raw.shape[1], seed=seed)

    def measure_subgroup(self, scores: Array, labels: Array, decoder: Decoder) -> SubgroupMetrics:
        """Measure macro F1, accuracy, and how far the most likely probability is from the accuracy."""
        hits = scores.argmax(axis=1) == labels
        decided = _decide(decoder, scores)
        return SubgroupMetrics(
            column="",
            value="",
            rows=len(labels),
            enough_rows=len(labels) >= MIN_SUBGROUP_ROWS and len(set(labels.tolist())) > 1,
            metrics={"macro_f1": metrics.estimate_macro_f1(decided, labels, classes=scores.shape[1], seed=0)},
            figures={
                "calibration_gap": float(scores.max(axis=1).mean() - hits.mean()),
                "accuracy": float((decided == labels).mean()),
            },
        )

    def constant_output(self, train_labels: Array, rows: int, classes: Sequence[str]) -> Array:
        """Return the frequency of each class in the train rows, so that the most frequent one is decided."""
        import numpy as np

        return np.tile(np.bincount(train_labels, minlength=len(classes)) / len(train_labels), (rows, 1))

    def heuristic_output(
        self, values: Array, train_values: Array, categories: Sequence[str], classes: Sequence[str]
    ) -> Array:
        """Return 1 for the class that the category names; a missing value or another category gives zeros.

        Raises ProjectError if no category names a class.
        """
        import numpy as np

        del train_values
        if not set(categories) & set(classes):
            raise ProjectError(
                "a heuristic baseline uses a feature of which no value is a class of the label",
                fix="choose a string feature whose values are classes, or remove Baseline.heuristic",
            )
        raw = np.zeros((len(values), len(classes)))
        for code, category in enumerate(categories):
            if category in classes:
                raw[values == code, classes.index(category)] = 1.0
        return raw

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
        """Compare the macro F1 of the decisions by paired bootstrap; the live model may have other classes."""
        import numpy as np

        decided, champion_decided = _decide(decoder, scores), _decide(champion_decoder, champion_scores)
        champion_labels = _most_likely_rule(champion_decoder).labels
        # A class that the candidate does not know gets a number of its own, and is never right.
        numbers = np.array([classes.index(label) if label in classes else len(classes) for label in champion_labels])
        champion_decided = numbers[champion_decided]

        def measure_difference(weights: Array) -> float:
            first, second = (
                metrics.compute_macro_f1(decisions, labels, weights, classes=len(classes) + 1)
                for decisions in (decided, champion_decided)
            )
            return first - second

        return compare_by_bootstrap(measure_difference, len(labels), seed)

    def find_target_leak(self, values: Array, labels: Array, *, categorical: bool) -> str | None:
        """Measure how well the most frequent class of the rows with the same value predicts the label."""
        import numpy as np

        if len(labels) < MIN_ROWS:
            return None
        groups, first, classes = (
            assign_value_groups(values, categorical=categorical), split_halves(len(labels)), int(labels.max()) + 1,
        )  # fmt: skip
        counts = np.zeros((groups.max() + 1, classes))
        numbers = labels.astype(int)
        np.add.at(counts, (groups[first], numbers[first]), 1.0)
        most_frequent = int(np.bincount(numbers[first]).argmax())
        decided = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), most_frequent)[groups[~first]]
        accuracy, floor = float((decided == numbers[~first]).mean()), float((numbers[~first] == most_frequent).mean())
        share = (accuracy - floor) / (1 - floor) if floor < 1 else 0.0
        return f"accuracy {accuracy:.3f} alone" if share > TARGET_LEAKAGE_SHARE else None

    def draw_plots(self, scores: Array, labels: Array, decoder: Decoder) -> dict[str, str]:
        """Draw the calibration of the most likely class."""
        del decoder
        hits = scores.argmax(axis=1) == labels
        return {"calibration": plots.plot_calibration(scores.max(axis=1), hits, bins=10)}

    def find_missing_classes(self, class_rows: Mapping[str, int]) -> list[GateFinding]:
        """Require enough rows of each class."""
        rare = [name for name, count in class_rows.items() if count < self.acceptance.class_rows]
        if not rare:
            return []
        message = f"{len(rare)} classes have fewer than {self.acceptance.class_rows:,} test rows: {', '.join(rare[:3])}"
        return [inconclusive_finding("class_rows", message, len(rare))]

    def check_metrics(self, report: EvaluationReport) -> list[GateFinding]:
        """Check macro F1, log loss and calibration error."""
        findings: list[GateFinding] = []
        criteria = self.acceptance
        f1, loss, error = (report.metrics.get(name) for name in ("macro_f1", "log_loss", "calibration_error"))
        if f1 is not None and not f1.low >= criteria.macro_f1:
            message = (
                f"its macro F1 is {f1.value:.3f}, low end {f1.low:.3f}; at least {criteria.macro_f1:.3f} is required"
            )
            findings.append(failed_finding("macro_f1", message))
        if loss is not None and criteria.log_loss is not None and not loss.value <= criteria.log_loss:
            message = f"its log loss is {loss.value:.3f}; at most {criteria.log_loss:.3f} is allowed"
            findings.append(failed_finding("log_loss", message))
        if error is not None and not error.value <= criteria.calibration_error:
            message = f"its calibration error is {error.value:.3f}; at most {criteria.calibration_error:.3f} is allowed"
            findings.append(failed_finding("calibration", message))
        return findings

    def check_subgroup(self, subgroup: SubgroupMetrics) -> list[GateFinding]:
        """Check macro F1 and calibration gap of a subgroup."""
        name = f"{subgroup.column} = {subgroup.value} ({subgroup.rows:,} rows)"
        f1, gap, criteria = subgroup.metrics["macro_f1"].value, subgroup.figures["calibration_gap"], self.acceptance
        findings: list[GateFinding] = []
        if not f1 >= criteria.subgroup_macro_f1:
            message = f"for {name} its macro F1 is {f1:.3f}; at least {criteria.subgroup_macro_f1:.3f} is required"
            findings.append(failed_finding("subgroup_macro_f1", message, column=subgroup.column, count=subgroup.rows))
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
        """Describe the rule and its thresholds."""
        assert isinstance(rule, MostLikelyRule)
        if not rule.thresholds:
            return f"Predicts the most likely of {len(rule.labels)} classes."
        limits = ", ".join(f"*{label}* from {threshold} on" for label, threshold in sorted(rule.thresholds.items()))
        return (
            f"Predicts the most likely of {len(rule.labels)} classes that reaches its threshold ({limits}), otherwise "
            f"*{rule.otherwise}*."
        )


def _most_likely_rule(decoder: Decoder) -> MostLikelyRule:
    rule = decoder.decision_rule
    assert isinstance(rule, MostLikelyRule)
    return rule


def _decide(decoder: Decoder, scores: Array) -> Array:
    assert isinstance(decoder, MulticlassDecoder)
    return decoder.decide_rows(scores)
