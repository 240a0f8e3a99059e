"""The gate: decide whether a candidate may be released. Pure functions. A metric that was not measured never passes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.models.estimators.port import TrainedFile, find_trained_file
from wellspring.models.metrics.intervals import PairedComparison
from wellspring.models.spec.definition import ModelDefinition, resolve_feature_dependencies
from wellspring.models.tasks.port import (
    AcceptanceCriteria,
    GateFinding,
    Task,
    failed_finding,
    inconclusive_finding,
    title_of,
)
from wellspring.records.features import FeatureViews
from wellspring.records.instants import from_epoch_micros, to_epoch_micros
from wellspring.records.models import EvaluationReport, SubgroupMetrics
from wellspring.records.record import format_instant
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


def check_candidate(
    subject: str,
    model: str,
    report: EvaluationReport,
    task: Task,
    *,
    suspected_leaks: Mapping[str, str],
    champion: str | None,
    comparison: ChampionComparison | None,
    trained_file: TrainedFile | None = None,
    landing_time: Sequence[str] = (),
) -> Verdict:
    """Check a candidate against the acceptance criteria of its task.

    suspected_leaks: evidence by feature. champion: the candidate behind the live release, None before the first; with a
    champion the comparison is required. trained_file: of a model trained elsewhere; the verdict says what is unknown.
    landing_time: tables that the model reads and whose rows count as known when they landed; the verdict says so.
    """
    findings = [
        *_check_leaks(report, suspected_leaks),
        *find_missing_evidence(task, report.test_rows, report.class_rows),
        *_check_evidence(report, task),
        *task.check_metrics(report),
        *_check_comparison(champion, comparison, task),
        *(finding for group in report.subgroups for finding in _check_subgroup(group, task)),
        *_check_budget(report, task.acceptance),
        *([_describe_trained_file(trained_file)] if trained_file is not None else ()),
        *([_describe_landing_time(landing_time)] if landing_time else ()),
    ]
    return _build_verdict(subject, model, findings)


def find_missing_evidence(task: Task, rows: int, class_rows: Mapping[str, int]) -> list[GateFinding]:
    """Find what test rows lack: enough rows, and enough of each class. class_rows: rows by class."""
    required, findings = task.acceptance.test_rows, task.find_missing_classes(class_rows)
    if rows >= required:
        return findings
    message = f"it was evaluated on {rows:,} rows; {required:,} are required"
    return [inconclusive_finding("test_rows", message, rows), *findings]


def check_leakage(
    model: ModelDefinition,
    views: FeatureViews,
    leaked_columns: Collection[str],
    audited_rows: Mapping[str, int],
    landing_time: Collection[str] = (),
) -> Verdict:
    """Check everything that a model uses against the columns that the leakage audit reported.

    That is its features and those of its baselines and subgroups, the instants and keys by which their rows are joined,
    and the whole table of its label. leaked_columns: `table.column` or `view.column`. audited_rows: rows that the audit
    compared, by table; a table without compared rows is inconclusive, unless it is one of `landing_time`: without
    `recorded_at` and with one landing it has no past to compare, and the verdict on the candidate says so.
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
        *model.entity_columns,
        *(key for dependency in dependencies for key in dependency.view.keys),
    }
    tables = _list_tables(model, views)
    join_columns = {f"{table}.{name}" for table in tables for name in (*keys, KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN)}
    label_prefix = f"{model.label.table}."
    leaked += sorted(
        leaked_column
        for leaked_column in leaked_columns
        if leaked_column in join_columns or leaked_column.startswith(label_prefix)
    )
    unaudited = [
        _unaudited_finding(table) for table in tables if audited_rows.get(table, 0) < 1 and table not in landing_time
    ]
    return _build_verdict(model.subject, model.name, [*map(_leak_finding, dict.fromkeys(leaked)), *unaudited])


def select_landing_time(model: ModelDefinition, views: FeatureViews, landing_time: Collection[str]) -> list[str]:
    """Select the tables that a model reads of those whose rows count as known when they landed."""
    return [table for table in _list_tables(model, views) if table in landing_time]


def _list_tables(model: ModelDefinition, views: FeatureViews) -> list[str]:
    """List the tables that a model reads: of its features, its spine and its label."""
    dependencies = resolve_feature_dependencies(model, views)
    return [*dict.fromkeys((*(item.view.table for item in dependencies), model.spine, model.label.table))]


def check_target_leakage(subject: str, model: str, suspected_leaks: Mapping[str, str]) -> Verdict:
    """Check that no single feature of a model determines the label."""
    return _build_verdict(
        subject, model, [_target_leakage_finding(name, evidence) for name, evidence in sorted(suspected_leaks.items())]
    )


def check_training_end(model: ModelDefinition, split_at: int) -> Verdict:
    """Check that a model which was trained elsewhere learned from no row of the test window.

    split_at: the start of that window, in microseconds. The end of its train rows is what the model file states.
    """
    trained_file = find_trained_file(model.estimator)
    if trained_file is None or to_epoch_micros(trained_file.trained_until) <= split_at:
        return _build_verdict(model.subject, model.name, [])
    message = (
        f"{trained_file.name} was trained on rows until {format_instant(trained_file.trained_until)}, and the test "
        f"window begins on {format_instant(from_epoch_micros(split_at))}: it may have learned the test rows"
    )
    finding = GateFinding("invalid", Reason(code="trained_on_test_rows", message=message))
    return _build_verdict(model.subject, model.name, [finding])


def _describe_trained_file(trained_file: TrainedFile) -> GateFinding:
    message = (
        f"it was trained elsewhere, on rows before {format_instant(trained_file.trained_until)} as its model file "
        "states: its train rows and labels were not seen here, were not audited for leaks, and it could not be trained "
        "again on shuffled labels. The features that it reads here were audited, and it was evaluated on later rows"
    )
    return GateFinding("pass", Reason(code="trained_elsewhere", message=message))


def _describe_landing_time(tables: Sequence[str]) -> GateFinding:
    message = (
        f"rows of {', '.join(tables)} have no recorded_at: they count as known when they landed. What they said before "
        "that could not be audited for leaks beyond the landings of their drops; that each column was known at its "
        "instant is what the project's SQL states"
    )
    return GateFinding("pass", Reason(code="landing_time", message=message))


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
    return GateFinding(
        "fail",
        Reason(
            code="leak", message=f"{column} uses values from after the prediction time ({explanation})", column=column
        ),
    )


def _unaudited_finding(table: str) -> GateFinding:
    message = (
        f"the leakage audit compared no rows of {table}: every row has the same recorded_at. Deliver recorded_at per "
        "row, or run `wellspring transform` again"
    )
    return inconclusive_finding("not_audited", message, 0)


def _target_leakage_finding(column: str, evidence: str) -> GateFinding:
    message = f"{column} determines the label by itself ({evidence}); it is treated as target leakage"
    return GateFinding("fail", Reason(code="target_leakage", message=message, column=column))


def _check_evidence(report: EvaluationReport, task: Task) -> list[GateFinding]:
    findings: list[GateFinding] = []
    for name in task.required_metrics:
        metric, title = report.metrics.get(name), title_of(task, name)
        if metric is None:
            findings.append(inconclusive_finding("missing_metric", f"its {title} was not measured"))
        elif not all(math.isfinite(number) for number in (metric.value, metric.low, metric.high)):
            findings.append(
                GateFinding("invalid", Reason(code="invalid_metric", message=f"its {title} is not a number"))
            )
    return findings


def _check_comparison(champion: str | None, comparison: ChampionComparison | None, task: Task) -> list[GateFinding]:
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
    summary = f"{task.comparison_title} {difference.value:+.3f} ({span}) on the same {difference.rows:,} rows"
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
    if difference.low < -task.acceptance.margin:
        message = f"it is not shown to be within {task.acceptance.margin:.3f} of the live model: {summary}"
        return [inconclusive_finding("margin", message)]
    return [GateFinding("pass", Reason(code="live_comparison", message=f"compared with the live model: {summary}"))]


def _check_subgroup(subgroup: SubgroupMetrics, task: Task) -> list[GateFinding]:
    name = f"{subgroup.column} = {subgroup.value}"
    if not subgroup.enough_rows:
        message = f"{name} has {subgroup.rows:,} rows and is not evaluated"
        reason = Reason(code="subgroup_too_small", message=message, column=subgroup.column, count=subgroup.rows)
        return [GateFinding("pass", reason)]
    if task.main_metric not in subgroup.metrics or not set(task.subgroup_figures) <= subgroup.figures.keys():
        message = f"{name} has enough rows but was not measured"
        return [inconclusive_finding("subgroup_not_measured", message, subgroup.rows)]
    return task.check_subgroup(subgroup)


def _check_budget(report: EvaluationReport, criteria: AcceptanceCriteria) -> list[GateFinding]:
    findings: list[GateFinding] = []
    limited = {name: value for name, value in report.size.items() if name in criteria.size}
    if any(value > criteria.size[name] for name, value in limited.items()):
        size = ", ".join(f"{value} {name}" for name, value in limited.items())
        budget = ", ".join(f"{criteria.size[name]} {name}" for name in limited)
        findings.append(failed_finding("size", f"it has {size}; the budget is {budget}"))
    if not report.reason_microseconds <= criteria.reason_microseconds:
        message = (
            f"the reasons of one prediction took {report.reason_microseconds:,.0f} microseconds; "
            f"at most {criteria.reason_microseconds:,.0f} are allowed"
        )
        findings.append(failed_finding("reason_time", message))
    return findings
