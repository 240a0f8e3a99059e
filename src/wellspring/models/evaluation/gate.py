"""The gate: decide whether a candidate may be released. Pure functions. A metric that was not measured never passes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.models.evaluation.metrics import PairedComparison
from wellspring.models.spec.definition import AcceptanceCriteria, ModelDefinition, resolve_feature_dependencies
from wellspring.records.features import FeatureViews
from wellspring.records.models import EvaluationReport, SubgroupMetrics
from wellspring.records.verdict import Reason, Verdict, VerdictOutcome

SIGNIFICANCE_LEVEL = 0.05
# A measured failure outweighs missing evidence.
_OUTCOMES_WORST_FIRST: tuple[VerdictOutcome, ...] = ("fail", "invalid", "inconclusive")


class ChampionComparison(NamedTuple):
    """A candidate compared with the live model on the same rows.

    comparison: candidate minus live; None if it could not be measured, and `reason` explains why.
    """

    champion: str
    comparison: PairedComparison | None
    reason: str = ""


class GateFinding(NamedTuple):
    """One reason and its effect on the verdict; 'pass' for information only."""

    outcome: VerdictOutcome
    reason: Reason


def check_candidate(
    subject: str,
    model: str,
    report: EvaluationReport,
    criteria: AcceptanceCriteria,
    *,
    positives: int,
    suspected_leaks: Mapping[str, str],
    champion: str | None,
    comparison: ChampionComparison | None,
) -> Verdict:
    """Check a candidate against its acceptance criteria.

    positives: of the test rows. suspected_leaks: evidence by feature. champion: the candidate behind the live release,
    None before the first; with a champion the comparison is required.
    """
    findings = [
        *_check_leaks(report, suspected_leaks),
        *_check_evidence(report, criteria, positives),
        *_check_metrics(report, criteria),
        *_check_comparison(champion, comparison, criteria),
        *(finding for group in report.subgroups for finding in _check_subgroup(group, criteria)),
        *_check_budget(report, criteria),
    ]
    return _build_verdict(subject, model, findings)


def check_leakage(
    model: ModelDefinition, views: FeatureViews, leaked_columns: Collection[str], audited_rows: Mapping[str, int]
) -> Verdict:
    """Check everything that a model uses against the columns that the leakage audit reported.

    That is its features and those of its baselines and subgroups, the instants and keys by which their rows are joined,
    and the whole table of its label. leaked_columns: `table.column` or `view.column`. audited_rows: rows that the audit
    compared, by table; a table without compared rows is inconclusive.
    """
    dependencies = resolve_feature_dependencies(model, views)
    leaked = [
        f"{dependency.view.name}.{dependency.feature.name}"
        for dependency in dependencies
        if {f"{dependency.view.table}.{dependency.feature.name}", f"{dependency.view.name}.{dependency.feature.name}"}
        & set(leaked_columns)
    ]
    keys = {
        *model.keys,
        model.baselines.entity_column,
        *(key for dependency in dependencies for key in dependency.view.keys),
    }
    tables = dict.fromkeys((*(dependency.view.table for dependency in dependencies), model.spine, model.label.table))
    join_columns = {f"{table}.{name}" for table in tables for name in (*keys, KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN)}
    label_prefix = f"{model.label.table}."
    leaked += sorted(
        leaked_column
        for leaked_column in leaked_columns
        if leaked_column in join_columns or leaked_column.startswith(label_prefix)
    )
    unaudited = [_unaudited_finding(table) for table in tables if audited_rows.get(table, 0) < 1]
    return _build_verdict(model.subject, model.name, [*map(_leak_finding, dict.fromkeys(leaked)), *unaudited])


def check_target_leakage(subject: str, model: str, suspected_leaks: Mapping[str, str]) -> Verdict:
    """Check that no single feature of a model determines the label."""
    return _build_verdict(
        subject, model, [_target_leakage_finding(name, evidence) for name, evidence in sorted(suspected_leaks.items())]
    )


def _build_verdict(subject: str, model: str, findings: list[GateFinding]) -> Verdict:
    reasons = [finding.reason.model_copy(update={"message": _explain_finding(model, finding)}) for finding in findings]
    return Verdict(subject=subject, outcome=_worst_outcome(findings), reasons=tuple(reasons))


def _worst_outcome(findings: list[GateFinding]) -> VerdictOutcome:
    outcomes = {finding.outcome for finding in findings}
    for outcome in _OUTCOMES_WORST_FIRST:
        if outcome in outcomes:
            return outcome
    return "pass"


def _explain_finding(model: str, finding: GateFinding) -> str:
    return (
        finding.reason.message if finding.outcome == "pass" else f"{model} was not released: {finding.reason.message}"
    )


def _check_leaks(report: EvaluationReport, suspected_leaks: Mapping[str, str]) -> list[GateFinding]:
    leaks = [leak for leak in report.leaks if leak not in suspected_leaks]
    return [
        *map(_leak_finding, leaks),
        *(_target_leakage_finding(name, evidence) for name, evidence in sorted(suspected_leaks.items())),
    ]


def _leak_finding(column: str) -> GateFinding:
    explanation = "its value differs from what was known at prediction time"
    if column.endswith(f".{KNOWN_SINCE_COLUMN}"):
        explanation = "its table has rows that were added after their known_since, or has lost rows since"
    return GateFinding("fail", Reason(code="leak", message=f"{column} knew the future ({explanation})", column=column))


def _unaudited_finding(table: str) -> GateFinding:
    message = (
        f"the leakage audit compared no rows of {table}: every row has the same recorded_at. Deliver recorded_at per "
        "row, or run `wellspring transform` again"
    )
    return _inconclusive_finding("not_audited", message, 0)


def _target_leakage_finding(column: str, evidence: str) -> GateFinding:
    message = f"{column} determines the label by itself ({evidence}); it is treated as target leakage"
    return GateFinding("fail", Reason(code="target_leakage", message=message, column=column))


def _check_evidence(report: EvaluationReport, criteria: AcceptanceCriteria, positives: int) -> list[GateFinding]:
    findings: list[GateFinding] = []
    if report.test_rows < criteria.test_rows:
        message = f"it was evaluated on {report.test_rows:,} rows; {criteria.test_rows:,} are required"
        findings.append(_inconclusive_finding("test_rows", message, report.test_rows))
    if min(positives, report.test_rows - positives) < criteria.test_positives:
        message = (
            f"the test rows contain {positives:,} positives; {criteria.test_positives:,} of each class are required"
        )
        findings.append(_inconclusive_finding("test_positives", message, positives))
    for name in ("auc", "brier", "calibration_error"):
        metric = report.metrics.get(name)
        if metric is None:
            findings.append(_inconclusive_finding("missing_metric", f"its {_metric_title(name)} was not measured"))
        elif not all(math.isfinite(number) for number in (metric.value, metric.low, metric.high)):
            findings.append(
                GateFinding(
                    "invalid", Reason(code="invalid_metric", message=f"its {_metric_title(name)} is not a number")
                )
            )
    return findings


def _check_metrics(report: EvaluationReport, criteria: AcceptanceCriteria) -> list[GateFinding]:
    findings: list[GateFinding] = []
    auc, brier, error = (report.metrics.get(name) for name in ("auc", "brier", "calibration_error"))
    if auc is not None and auc.low < criteria.auc:
        message = f"its AUC is {auc.value:.3f}, low end {auc.low:.3f}; at least {criteria.auc:.3f} is required"
        findings.append(GateFinding("fail", Reason(code="auc", message=message)))
    if brier is not None and brier.value > criteria.brier:
        message = f"its Brier score is {brier.value:.3f}; at most {criteria.brier:.3f} is allowed"
        findings.append(GateFinding("fail", Reason(code="brier", message=message)))
    if error is not None and error.value > criteria.calibration_error:
        message = f"its calibration error is {error.value:.3f}; at most {criteria.calibration_error:.3f} is allowed"
        findings.append(GateFinding("fail", Reason(code="calibration", message=message)))
    return findings


def _check_comparison(
    champion: str | None, comparison: ChampionComparison | None, criteria: AcceptanceCriteria
) -> list[GateFinding]:
    if champion is None:
        return [GateFinding("pass", Reason(code="no_live_model", message="no release is live to compare it with"))]
    if comparison is None or comparison.comparison is None or comparison.champion != champion:
        reason = comparison.reason if comparison is not None and comparison.reason else "it was not measured"
        return [
            GateFinding(
                "invalid",
                Reason(code="live_comparison", message=f"it could not be compared with the live model: {reason}"),
            )
        ]
    difference, p = comparison.comparison.difference, comparison.comparison.p
    span = f"{difference.low:+.3f} to {difference.high:+.3f}"
    summary = f"AUC {difference.value:+.3f} ({span}) on the same {difference.rows:,} rows"
    if not math.isfinite(difference.low) or math.isnan(p):
        return [
            GateFinding(
                "invalid", Reason(code="live_comparison", message="its comparison with the live model is not a number")
            )
        ]
    if difference.value < 0 and p < SIGNIFICANCE_LEVEL:
        return [
            GateFinding("fail", Reason(code="worse_than_live", message=f"it is worse than the live model: {summary}"))
        ]
    if difference.low < -criteria.margin:
        message = f"it is not shown to be within {criteria.margin:.3f} of what is live: {summary}"
        return [_inconclusive_finding("margin", message)]
    return [GateFinding("pass", Reason(code="live_comparison", message=f"beside what is live: {summary}"))]


def _check_subgroup(subgroup: SubgroupMetrics, criteria: AcceptanceCriteria) -> list[GateFinding]:
    name = f"{subgroup.column} = {subgroup.value}"
    if not subgroup.enough_rows:
        message = f"{name} has {subgroup.rows:,} rows and is not evaluated"
        return [
            GateFinding(
                "pass", Reason(code="subgroup_too_small", message=message, column=subgroup.column, count=subgroup.rows)
            )
        ]
    if subgroup.auc is None or subgroup.calibration_gap is None:
        return [
            _inconclusive_finding(
                "subgroup_not_measured", f"{name} has enough rows but was not measured", subgroup.rows
            )
        ]
    findings: list[GateFinding] = []
    if not subgroup.auc.value >= criteria.subgroup_auc:
        message = (
            f"for {name} ({subgroup.rows:,} rows) its AUC is {subgroup.auc.value:.3f}; "
            f"at least {criteria.subgroup_auc:.3f} is required"
        )
        findings.append(
            GateFinding(
                "fail", Reason(code="subgroup_auc", message=message, column=subgroup.column, count=subgroup.rows)
            )
        )
    if not abs(subgroup.calibration_gap) <= criteria.subgroup_calibration_gap:
        message = (
            f"for {name} ({subgroup.rows:,} rows) its calibration gap is {subgroup.calibration_gap:+.3f}; "
            f"at most {criteria.subgroup_calibration_gap:.3f} is allowed"
        )
        findings.append(
            GateFinding(
                "fail",
                Reason(code="subgroup_calibration_gap", message=message, column=subgroup.column, count=subgroup.rows),
            )
        )
    return findings


def _check_budget(report: EvaluationReport, criteria: AcceptanceCriteria) -> list[GateFinding]:
    findings: list[GateFinding] = []
    if report.trees > criteria.trees or report.leaves > criteria.leaves:
        message = (
            f"it has {report.trees} trees of up to {report.leaves} leaves; the budget is {criteria.trees} trees of "
            f"{criteria.leaves} leaves"
        )
        findings.append(GateFinding("fail", Reason(code="size", message=message)))
    if not report.reason_microseconds <= criteria.reason_microseconds:
        message = (
            f"the reasons of one prediction took {report.reason_microseconds:,.0f} microseconds; "
            f"at most {criteria.reason_microseconds:,.0f} are allowed"
        )
        findings.append(GateFinding("fail", Reason(code="reason_time", message=message)))
    return findings


def _inconclusive_finding(code: str, message: str, count: int | None = None) -> GateFinding:
    return GateFinding("inconclusive", Reason(code=code, message=message, count=count))


def _metric_title(name: str) -> str:
    return {"auc": "AUC", "brier": "Brier score"}.get(name, name.replace("_", " "))
