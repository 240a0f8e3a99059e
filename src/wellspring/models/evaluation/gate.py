"""Whether a candidate may be released: figures held against bars; pure. What was not measured is never a pass."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.models.evaluation.metrics import PairedComparison
from wellspring.models.spec.definition import AcceptanceCriteria, ModelDefinition, resolve_feature_dependencies
from wellspring.records.data import FeatureViews
from wellspring.records.models import EvaluationReport, SubgroupMetrics
from wellspring.records.verdict import Reason, Verdict, VerdictOutcome

SIGNIFICANCE_LEVEL = 0.05
# A harm that was seen outweighs evidence that is missing.
_OUTCOMES_WORST_FIRST: tuple[VerdictOutcome, ...] = ("fail", "invalid", "inconclusive")


class ChampionComparison(NamedTuple):
    """A candidate beside what is live, on the same rows. paired: candidate minus live; None: it could not be measured,
    and `why` says so."""

    champion: str
    comparison: PairedComparison | None
    reason: str = ""


class GateFinding(NamedTuple):
    """One reason, and what it makes of the whole: 'pass' for what is only told."""

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
    """Judge a candidate. positives: of the test rows. suspicious: features that tell the answer alone, and how.

    live: the candidate behind what is live, None before the first release; then `versus` is demanded.
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
    """Judge what a model rests on by what an edition knows to leak: `table.column` or `view.column`.

    That is its features and those that it is compared by, the instants and keys by which their rows are joined, and
    the whole table of its label. audited: how many rows of each table were compared to know; none is no answer.
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
    unaudited = [_unaudited_finding(item) for item in tables if audited_rows.get(item, 0) < 1]
    return _build_verdict(model.subject, model.name, [*map(_leak_finding, dict.fromkeys(leaked)), *unaudited])


def check_target_leakage(subject: str, model: str, suspected_leaks: Mapping[str, str]) -> Verdict:
    """Judge a model's features by what each of them tells about the label alone."""
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
    explanation = "its value for a row differs from what was known when the row was asked about"
    if column.endswith(f".{KNOWN_SINCE_COLUMN}"):
        explanation = (
            "its table holds rows that were not there when it says that they were known, or has lost some since"
        )
    return GateFinding("fail", Reason(code="leak", message=f"{column} knew the future ({explanation})", column=column))


def _unaudited_finding(table: str) -> GateFinding:
    message = (
        f"no row of {table} was compared with what was known earlier, so nobody knows whether it knew the future "
        "(it was recorded at one instant: a column recorded_at in the drop says when each row was; or it was built "
        "before this was counted: wellspring transform)"
    )
    return _inconclusive_finding("not_audited", message, 0)


def _target_leakage_finding(column: str, evidence: str) -> GateFinding:
    message = (
        f"{column} tells the answer by itself ({evidence}); it is taken for the answer until somebody shows otherwise"
    )
    return GateFinding("fail", Reason(code="target_leakage", message=message, column=column))


def _check_evidence(report: EvaluationReport, criteria: AcceptanceCriteria, positives: int) -> list[GateFinding]:
    findings: list[GateFinding] = []
    if report.test_rows < criteria.test_rows:
        message = f"{report.test_rows:,} rows judged it, and {criteria.test_rows:,} are asked for"
        findings.append(_inconclusive_finding("test_rows", message, report.test_rows))
    if min(positives, report.test_rows - positives) < criteria.test_positives:
        message = f"the rows that judged it hold {positives:,} of one kind, and {criteria.test_positives:,} of each are asked for"
        findings.append(_inconclusive_finding("test_positives", message, positives))
    for name in ("auc", "brier", "calibration_error"):
        metric = report.metrics.get(name)
        if metric is None:
            findings.append(_inconclusive_finding("missing_metric", f"its {_metric_title(name)} was not measured"))
        elif not all(math.isfinite(number) for number in (metric.value, metric.low, metric.high)):
            findings.append(
                GateFinding("invalid", Reason(code="invalid_metric", message=f"its {_metric_title(name)} is no number"))
            )
    return findings


def _check_metrics(report: EvaluationReport, criteria: AcceptanceCriteria) -> list[GateFinding]:
    findings: list[GateFinding] = []
    auc, brier, error = (report.metrics.get(name) for name in ("auc", "brier", "calibration_error"))
    if auc is not None and auc.low < criteria.auc:
        message = f"its AUC is {auc.value:.3f}, at worst {auc.low:.3f}, and the bar is {criteria.auc:.3f}"
        findings.append(GateFinding("fail", Reason(code="auc", message=message)))
    if brier is not None and brier.value > criteria.brier:
        message = f"its Brier score is {brier.value:.3f}, and at most {criteria.brier:.3f} is allowed"
        findings.append(GateFinding("fail", Reason(code="brier", message=message)))
    if error is not None and error.value > criteria.calibration_error:
        message = (
            f"what it says and what happens lie {error.value:.3f} apart on average, "
            f"and at most {criteria.calibration_error:.3f} is allowed"
        )
        findings.append(GateFinding("fail", Reason(code="calibration", message=message)))
    return findings


def _check_comparison(
    champion: str | None, comparison: ChampionComparison | None, criteria: AcceptanceCriteria
) -> list[GateFinding]:
    if champion is None:
        return [GateFinding("pass", Reason(code="no_live_model", message="nothing is live to compare it with"))]
    if comparison is None or comparison.comparison is None or comparison.champion != champion:
        reason = comparison.reason if comparison is not None and comparison.reason else "it was not measured"
        return [
            GateFinding(
                "invalid",
                Reason(code="live_comparison", message=f"it could not be compared with what is live: {reason}"),
            )
        ]
    difference, p = comparison.comparison.difference, comparison.comparison.p
    span = f"{difference.low:+.3f} to {difference.high:+.3f}"
    summary = f"AUC {difference.value:+.3f} ({span}) on the same {difference.rows:,} rows"
    if not math.isfinite(difference.low) or math.isnan(p):
        return [
            GateFinding(
                "invalid", Reason(code="live_comparison", message="its comparison with what is live is no number")
            )
        ]
    if difference.value < 0 and p < SIGNIFICANCE_LEVEL:
        return [
            GateFinding("fail", Reason(code="worse_than_live", message=f"it is worse than what is live: {summary}"))
        ]
    if difference.low < -criteria.margin:
        message = f"it is not shown to be within {criteria.margin:.3f} of what is live: {summary}"
        return [_inconclusive_finding("margin", message)]
    return [GateFinding("pass", Reason(code="live_comparison", message=f"beside what is live: {summary}"))]


def _check_subgroup(subgroup: SubgroupMetrics, criteria: AcceptanceCriteria) -> list[GateFinding]:
    name = f"{subgroup.column} = {subgroup.value}"
    if not subgroup.enough_rows:
        message = f"{name} has {subgroup.rows:,} rows and is not judged"
        return [
            GateFinding(
                "pass", Reason(code="subgroup_too_small", message=message, column=subgroup.column, count=subgroup.rows)
            )
        ]
    if subgroup.auc is None or subgroup.calibration_gap is None:
        return [
            _inconclusive_finding(
                "subgroup_not_measured", f"{name} was to be judged, and was not measured", subgroup.rows
            )
        ]
    findings: list[GateFinding] = []
    if not subgroup.auc.value >= criteria.subgroup_auc:
        message = f"for {name} ({subgroup.rows:,} rows) its AUC is {subgroup.auc.value:.3f}, and the bar is {criteria.subgroup_auc:.3f}"
        findings.append(
            GateFinding(
                "fail", Reason(code="subgroup_auc", message=message, column=subgroup.column, count=subgroup.rows)
            )
        )
    if not abs(subgroup.calibration_gap) <= criteria.subgroup_calibration_gap:
        message = (
            f"for {name} ({subgroup.rows:,} rows) it says {subgroup.calibration_gap:+.3f} beside what happens, "
            f"and at most {criteria.subgroup_calibration_gap:.3f} is allowed"
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
            f"it has {report.trees} trees of up to {report.leaves} leaves, and the reasons of an answer have a budget "
            f"of {criteria.trees} of {criteria.leaves}"
        )
        findings.append(GateFinding("fail", Reason(code="size", message=message)))
    if not report.reason_microseconds <= criteria.reason_microseconds:
        message = (
            f"the reasons of one answer took {report.reason_microseconds:,.0f} microseconds, "
            f"and have {criteria.reason_microseconds:,.0f}"
        )
        findings.append(GateFinding("fail", Reason(code="reason_time", message=message)))
    return findings


def _inconclusive_finding(code: str, message: str, count: int | None = None) -> GateFinding:
    return GateFinding("inconclusive", Reason(code=code, message=message, count=count))


def _metric_title(name: str) -> str:
    return {"auc": "AUC", "brier": "Brier score"}.get(name, name.replace("_", " "))
