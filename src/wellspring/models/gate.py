"""Whether a candidate may be released: figures held against bars; pure. What was not measured is never a pass."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from wellspring.data.features import KNOWN, SEQUENCE
from wellspring.models.definition import Bars, Model, rests_on
from wellspring.models.statistics import Paired
from wellspring.records.data import Views
from wellspring.records.models import Group, Scores
from wellspring.records.verdict import Outcome, Reason, Verdict

SIGNIFICANT = 0.05
# A harm that was seen outweighs evidence that is missing.
_WORST: tuple[Outcome, ...] = ("fail", "invalid", "inconclusive")


class Versus(NamedTuple):
    """A candidate beside what is live, on the same rows. paired: candidate minus live; None: it could not be measured,
    and `why` says so."""

    live: str
    paired: Paired | None
    why: str = ""


class Finding(NamedTuple):
    """One reason, and what it makes of the whole: 'pass' for what is only told."""

    outcome: Outcome
    reason: Reason


def judge(
    subject: str,
    model: str,
    scores: Scores,
    bars: Bars,
    *,
    positives: int,
    suspicious: Mapping[str, str],
    live: str | None,
    versus: Versus | None,
) -> Verdict:
    """Judge a candidate. positives: of the test rows. suspicious: features that tell the answer alone, and how.

    live: the candidate behind what is live, None before the first release; then `versus` is demanded.
    """
    findings = [
        *_leaks(scores, suspicious),
        *_evidence(scores, bars, positives),
        *_absolute(scores, bars),
        *_compared(live, versus, bars),
        *(finding for group in scores.groups for finding in _group(group, bars)),
        *_budget(scores, bars),
    ]
    return _verdict(subject, model, findings)


def leaking(model: Model, views: Views, leaks: Collection[str], audited: Mapping[str, int]) -> Verdict:
    """Judge what a model rests on by what an edition knows to leak: `table.column` or `view.column`.

    That is its features and those that it is compared by, the instants and keys by which their rows are joined, and
    the whole table of its label. audited: how many rows of each table were compared to know; none is no answer.
    """
    used = rests_on(model, views)
    found = [
        f"{each.view.name}.{each.feature.name}"
        for each in used
        if {f"{each.view.table}.{each.feature.name}", f"{each.view.name}.{each.feature.name}"} & set(leaks)
    ]
    keys = {*model.keys, model.baselines.provider, *(key for each in used for key in each.view.keys)}
    tables = dict.fromkeys((*(each.view.table for each in used), model.spine, model.label.table))
    joined_by = {f"{table}.{name}" for table in tables for name in (*keys, KNOWN, SEQUENCE)}
    of_label = f"{model.label.table}."
    found += sorted(each for each in leaks if each in joined_by or each.startswith(of_label))
    unknown = [_not_audited(each) for each in tables if audited.get(each, 0) < 1]
    return _verdict(model.subject, model.name, [*map(_knew, dict.fromkeys(found)), *unknown])


def suspected(subject: str, model: str, suspicious: Mapping[str, str]) -> Verdict:
    """Judge a model's features by what each of them tells about the label alone."""
    return _verdict(subject, model, [_alone(name, how) for name, how in sorted(suspicious.items())])


def _verdict(subject: str, model: str, findings: list[Finding]) -> Verdict:
    said = [each.reason.model_copy(update={"what": _sentence(model, each)}) for each in findings]
    return Verdict(subject=subject, outcome=_worst(findings), reasons=tuple(said))


def _worst(findings: list[Finding]) -> Outcome:
    outcomes = {each.outcome for each in findings}
    for outcome in _WORST:
        if outcome in outcomes:
            return outcome
    return "pass"


def _sentence(model: str, finding: Finding) -> str:
    return finding.reason.what if finding.outcome == "pass" else f"{model} was not released: {finding.reason.what}"


def _leaks(scores: Scores, suspicious: Mapping[str, str]) -> list[Finding]:
    known = [each for each in scores.leaks if each not in suspicious]
    return [*map(_knew, known), *(_alone(name, how) for name, how in sorted(suspicious.items()))]


def _knew(name: str) -> Finding:
    how = "its value for a row differs from what was known when the row was asked about"
    if name.endswith(f".{KNOWN}"):
        how = "its table holds rows that were not there when it says that they were known, or has lost some since"
    return Finding("fail", Reason(code="leak", what=f"{name} knew the future ({how})", column=name))


def _not_audited(table: str) -> Finding:
    what = (
        f"no row of {table} was compared with what was known earlier, so nobody knows whether it knew the future "
        "(it was recorded at one instant: a column recorded_at in the drop says when each row was; or it was built "
        "before this was counted: wellspring transform)"
    )
    return _unsure("not_audited", what, 0)


def _alone(name: str, how: str) -> Finding:
    what = f"{name} tells the answer by itself ({how}); it is taken for the answer until somebody shows otherwise"
    return Finding("fail", Reason(code="suspicious", what=what, column=name))


def _evidence(scores: Scores, bars: Bars, positives: int) -> list[Finding]:
    findings: list[Finding] = []
    if scores.test_rows < bars.test_rows:
        what = f"{scores.test_rows:,} rows judged it, and {bars.test_rows:,} are asked for"
        findings.append(_unsure("test_rows", what, scores.test_rows))
    if min(positives, scores.test_rows - positives) < bars.test_positives:
        what = (
            f"the rows that judged it hold {positives:,} of one kind, and {bars.test_positives:,} of each are asked for"
        )
        findings.append(_unsure("test_positives", what, positives))
    for name in ("auc", "brier", "calibration_error"):
        figure = scores.figures.get(name)
        if figure is None:
            findings.append(_unsure("missing", f"its {_words(name)} was not measured"))
        elif not all(math.isfinite(each) for each in (figure.value, figure.low, figure.high)):
            findings.append(Finding("invalid", Reason(code="figure", what=f"its {_words(name)} is no number")))
    return findings


def _absolute(scores: Scores, bars: Bars) -> list[Finding]:
    findings: list[Finding] = []
    auc, brier, error = (scores.figures.get(each) for each in ("auc", "brier", "calibration_error"))
    if auc is not None and auc.low < bars.auc:
        what = f"its AUC is {auc.value:.3f}, at worst {auc.low:.3f}, and the bar is {bars.auc:.3f}"
        findings.append(Finding("fail", Reason(code="auc", what=what)))
    if brier is not None and brier.value > bars.brier:
        what = f"its Brier score is {brier.value:.3f}, and at most {bars.brier:.3f} is allowed"
        findings.append(Finding("fail", Reason(code="brier", what=what)))
    if error is not None and error.value > bars.calibration_error:
        what = (
            f"what it says and what happens lie {error.value:.3f} apart on average, "
            f"and at most {bars.calibration_error:.3f} is allowed"
        )
        findings.append(Finding("fail", Reason(code="calibration", what=what)))
    return findings


def _compared(live: str | None, versus: Versus | None, bars: Bars) -> list[Finding]:
    if live is None:
        return [Finding("pass", Reason(code="first", what="nothing is live to compare it with"))]
    if versus is None or versus.paired is None or versus.live != live:
        why = versus.why if versus is not None and versus.why else "it was not measured"
        return [Finding("invalid", Reason(code="live", what=f"it could not be compared with what is live: {why}"))]
    difference, p = versus.paired.difference, versus.paired.p
    span = f"{difference.low:+.3f} to {difference.high:+.3f}"
    told = f"AUC {difference.value:+.3f} ({span}) on the same {difference.rows:,} rows"
    if not math.isfinite(difference.low) or math.isnan(p):
        return [Finding("invalid", Reason(code="live", what="its comparison with what is live is no number"))]
    if difference.value < 0 and p < SIGNIFICANT:
        return [Finding("fail", Reason(code="worse", what=f"it is worse than what is live: {told}"))]
    if difference.low < -bars.margin:
        what = f"it is not shown to be within {bars.margin:.3f} of what is live: {told}"
        return [_unsure("margin", what)]
    return [Finding("pass", Reason(code="live", what=f"beside what is live: {told}"))]


def _group(group: Group, bars: Bars) -> list[Finding]:
    name = f"{group.column} = {group.value}"
    if not group.judged:
        what = f"{name} has {group.rows:,} rows and is not judged"
        return [Finding("pass", Reason(code="not_judged", what=what, column=group.column, count=group.rows))]
    if group.auc is None or group.calibration_gap is None:
        return [_unsure("group", f"{name} was to be judged, and was not measured", group.rows)]
    findings: list[Finding] = []
    if not group.auc.value >= bars.group_auc:
        what = f"for {name} ({group.rows:,} rows) its AUC is {group.auc.value:.3f}, and the bar is {bars.group_auc:.3f}"
        findings.append(Finding("fail", Reason(code="group_auc", what=what, column=group.column, count=group.rows)))
    if not abs(group.calibration_gap) <= bars.group_gap:
        what = (
            f"for {name} ({group.rows:,} rows) it says {group.calibration_gap:+.3f} beside what happens, "
            f"and at most {bars.group_gap:.3f} is allowed"
        )
        findings.append(Finding("fail", Reason(code="group_gap", what=what, column=group.column, count=group.rows)))
    return findings


def _budget(scores: Scores, bars: Bars) -> list[Finding]:
    findings: list[Finding] = []
    if scores.trees > bars.trees or scores.leaves > bars.leaves:
        what = (
            f"it has {scores.trees} trees of up to {scores.leaves} leaves, and the reasons of an answer have a budget "
            f"of {bars.trees} of {bars.leaves}"
        )
        findings.append(Finding("fail", Reason(code="size", what=what)))
    if not scores.reason_microseconds <= bars.reason_microseconds:
        what = (
            f"the reasons of one answer took {scores.reason_microseconds:,.0f} microseconds, "
            f"and have {bars.reason_microseconds:,.0f}"
        )
        findings.append(Finding("fail", Reason(code="reason_time", what=what)))
    return findings


def _unsure(code: str, what: str, count: int | None = None) -> Finding:
    return Finding("inconclusive", Reason(code=code, what=what, count=count))


def _words(name: str) -> str:
    return {"auc": "AUC", "brier": "Brier score"}.get(name, name.replace("_", " "))
