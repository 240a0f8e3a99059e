from typing import Any

import pytest

from tests.builders.synthetic_world import binary_task, model, scores, views
from wellspring.models.evaluation import gate
from wellspring.models.metrics.intervals import PairedComparison
from wellspring.models.spec.definition import Subgroup
from wellspring.models.tasks.binary import BinaryCriteria
from wellspring.records.models import Estimate, EvaluationReport, SubgroupMetrics

TASK = binary_task(
    acceptance=BinaryCriteria(
        auc=0.65, brier=0.2, calibration_error=0.03, margin=0.01, test_rows=1000, test_positives=100
    )
)

AUDITED = {"claim_features": 5, "provider_history": 5, "claim_label": 5}


def check(report: EvaluationReport | None = None, **changes: Any):
    arguments: dict[str, Any] = {"suspected_leaks": {}, "champion": None, "comparison": None}
    return gate.check_candidate("run:x", "denials", report or scores(), TASK, **{**arguments, **changes})


def codes(verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def paired(value: float, low: float, high: float, p: float) -> PairedComparison:
    return PairedComparison(Estimate(value=value, low=low, high=high, rows=2000), 0.0, p)


def figure(name: str, value: float, low: float | None = None, high: float | None = None) -> EvaluationReport:
    measured = Estimate(value=value, low=value if low is None else low, high=value if high is None else high, rows=2000)
    return scores(metrics={**scores().metrics, name: measured})


def group(**changes: Any) -> EvaluationReport:
    fields: dict[str, Any] = {
        "column": "claim:plan", "value": "gold", "rows": 500, "enough_rows": True,
        "metrics": {"auc": Estimate(value=0.7, low=0.6, high=0.8, rows=500)},
        "figures": {"calibration_gap": 0.01, "positive_share": 0.2},
    }  # fmt: skip
    return scores(subgroups=(SubgroupMetrics(**{**fields, **changes}),))


def test_a_candidate_that_meets_all_criteria_passes():
    verdict = check()
    assert verdict.passed
    assert codes(verdict) == ["no_live_model"]
    assert verdict.subject == "run:x"


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (figure("auc", 0.70, low=0.649), "auc"),
        (figure("brier", 0.21), "brier"),
        (figure("calibration_error", 0.031), "calibration"),
        (scores(size={"trees": 301, "leaves": 31}), "size"),
        (scores(size={"trees": 300, "leaves": 32}), "size"),
        (scores(reason_microseconds=20_001), "reason_time"),
        (scores(leaks=("provider_history.denial_rate_next",)), "leak"),
        (group(metrics={"auc": Estimate(value=0.549, low=0.5, high=0.6, rows=500)}), "subgroup_auc"),
        (group(figures={"calibration_gap": -0.07, "positive_share": 0.2}), "subgroup_calibration_gap"),
    ],
)
def test_each_criterion_refuses_with_its_code(report: EvaluationReport, code: str):
    verdict = check(report)
    assert verdict.outcome == "fail"
    assert code in codes(verdict)
    message = next(reason.message for reason in verdict.reasons if reason.code == code)
    assert message.startswith("denials was not released: ")


def test_a_leak_is_named_in_a_plain_sentence():
    verdict = check(scores(leaks=("provider_history.denial_rate_next",)))
    assert verdict.reasons[0].message.startswith(
        "denials was not released: provider_history.denial_rate_next uses values from after the prediction time"
    )
    verdict = check(suspected_leaks={"claim.paid_amount": "AUC 0.990 alone"})
    assert (verdict.outcome, verdict.reasons[0].code, verdict.reasons[0].column) == (
        "fail", "target_leakage", "claim.paid_amount",
    )  # fmt: skip


@pytest.mark.parametrize("leak", ["provider_history.claims_30d", "history_table.claims_30d"])
def test_a_leak_of_the_edition_is_found_by_view_or_by_table(leak: str):
    original = views()
    moved = [
        v.model_copy(update={"table": "history_table"}) if v.name == "provider_history" else v for v in original.views
    ]
    moved = original.model_copy(update={"views": tuple(moved)})
    audited = {**AUDITED, "history_table": 5}
    verdict = gate.check_leakage(model(), moved, [leak, "provider_history.not_used", "elsewhere.known_since"], audited)
    assert verdict.outcome == "fail"
    assert [reason.column for reason in verdict.reasons] == ["provider_history.claims_30d"]
    assert gate.check_leakage(model(), moved, ["provider_history.not_used"], audited).passed


@pytest.mark.parametrize(
    "leak",
    [
        "provider_history.known_since", "provider_history.sequence", "provider_history.billing_npi",
        "claim_features.known_since", "claim_features.claim_id", "claim_label.is_denied", "claim_label.known_since",
        "claim_label.carc_code",
    ],
)  # fmt: skip
def test_a_leak_of_join_columns_or_the_label_table_refuses(leak: str):
    verdict = gate.check_leakage(model(features=("provider_history:*",)), views(), [leak], AUDITED)
    assert verdict.outcome == "fail"
    assert [(reason.code, reason.column) for reason in verdict.reasons] == [("leak", leak)]
    assert verdict.reasons[0].message.startswith(
        f"denials was not released: {leak} uses values from after the prediction time"
    )


def test_a_leak_of_baseline_or_subgroup_features_refuses():
    lean = model(features=("claim:charge_amount",), subgroups=(Subgroup(feature="claim:auth_state"),))
    for leak in ("claim.auth_state", "claim.is_replacement", "provider_history.denial_rate_30d"):
        verdict = gate.check_leakage(lean, views(), [leak], AUDITED)
        assert [(verdict.outcome, reason.column) for reason in verdict.reasons] == [("fail", leak)]
    assert gate.check_leakage(lean, views(), ["provider_history.claims_30d"], AUDITED).passed


@pytest.mark.parametrize("table", ["provider_history", "claim_label", "claim_features"])
def test_a_table_of_which_no_row_was_compared_is_never_a_pass(table: str):
    for audited in ({**AUDITED, table: 0}, {name: rows for name, rows in AUDITED.items() if name != table}):
        verdict = gate.check_leakage(model(), views(), [], audited)
        assert (verdict.outcome, codes(verdict)) == ("inconclusive", ["not_audited"])
        assert f"compared no rows of {table}" in verdict.reasons[0].message
    assert gate.check_leakage(model(), views(), [], AUDITED).passed
    assert gate.check_leakage(model(), views(), ["claim.auth_state"], {}).outcome == "fail"


def test_a_table_without_recorded_at_is_no_obstacle_and_the_verdict_says_so():
    audited = {**AUDITED, "claim_label": 0}
    assert gate.check_leakage(model(), views(), [], audited, ["claim_label"]).passed
    assert gate.check_leakage(model(), views(), [], audited, ["claim_features"]).outcome == "inconclusive"
    assert gate.check_leakage(model(), views(), ["claim_label.is_denied"], audited, ["claim_label"]).outcome == "fail"
    assert gate.select_landing_time(model(), views(), ["claim_label", "elsewhere"]) == ["claim_label"]
    verdict = check(landing_time=["claim_label"])
    assert verdict.passed
    (reason,) = [reason for reason in verdict.reasons if reason.code == "landing_time"]
    assert reason.message.startswith("rows of claim_label have no recorded_at: they count as known when they landed")
    assert "landing_time" not in codes(check())


def test_a_worse_candidate_is_refused():
    verdict = check(champion="abc", comparison=gate.ChampionComparison("abc", paired(-0.02, -0.03, -0.01, 0.001)))
    assert (verdict.outcome, codes(verdict)) == ("fail", ["worse_than_live"])
    # Significantly worse is worse, however little.
    verdict = check(champion="abc", comparison=gate.ChampionComparison("abc", paired(-0.004, -0.006, -0.002, 0.001)))
    assert verdict.outcome == "fail"


def test_a_candidate_not_shown_to_be_no_worse_is_inconclusive_and_no_pass():
    verdict = check(champion="abc", comparison=gate.ChampionComparison("abc", paired(-0.002, -0.011, 0.007, 0.7)))
    assert (verdict.outcome, codes(verdict)) == ("inconclusive", ["margin"])
    verdict = check(champion="abc", comparison=gate.ChampionComparison("abc", paired(-0.002, -0.009, 0.005, 0.5)))
    assert verdict.passed


@pytest.mark.parametrize(
    "comparison",
    [None, gate.ChampionComparison("abc", None, "it lost a feature"),
     gate.ChampionComparison("other", paired(0.1, 0.05, 0.2, 0.0)),
     gate.ChampionComparison("abc", paired(float("nan"), float("nan"), float("nan"), float("nan")))],
)  # fmt: skip
def test_a_candidate_without_a_comparison_with_the_live_model_is_invalid(comparison: gate.ChampionComparison | None):
    assert check(champion="abc", comparison=comparison).outcome == "invalid"


@pytest.mark.parametrize("name", ["auc", "brier", "calibration_error"])
def test_a_figure_that_was_not_measured_is_never_a_pass(name: str):
    remaining = {item: measured for item, measured in scores().metrics.items() if item != name}
    assert check(scores(metrics=remaining)).outcome == "inconclusive"
    assert check(figure(name, float("nan"))).outcome in {"invalid", "fail"}


def test_too_few_rows_or_too_few_of_one_kind_is_never_a_pass():
    assert check(scores(test_rows=999)).outcome == "inconclusive"
    assert check(scores(class_rows={"pays": 1901, "denies": 99})).outcome == "inconclusive"
    assert check(scores(class_rows={"pays": 50, "denies": 1950})).outcome == "inconclusive"


def test_a_small_subgroup_is_reported_and_not_evaluated():
    verdict = check(group(enough_rows=False, rows=40))
    assert verdict.passed
    reason = next(reason for reason in verdict.reasons if reason.code == "subgroup_too_small")
    assert (reason.message, reason.count) == ("claim:plan = gold has 40 rows and is not evaluated", 40)


def test_an_evaluated_subgroup_without_metrics_never_passes():
    assert check(group(metrics={})).outcome == "inconclusive"
    assert check(group(figures={"calibration_gap": float("nan"), "positive_share": 0.2})).outcome == "fail"


def test_fail_outranks_inconclusive():
    assert check(figure("brier", 0.3).model_copy(update={"test_rows": 10}), champion="abc").outcome == "fail"
