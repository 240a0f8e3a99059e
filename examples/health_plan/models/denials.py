"""Predict whether a claim will be denied, when it comes in, so that it can be corrected before it is decided."""

from wellspring.stable import (
    Baseline,
    Binary,
    BinaryCriteria,
    HyperparameterSearch,
    Label,
    LightGBM,
    ModelDefinition,
    Subgroup,
    Threshold,
    TimeSplit,
)

COLUMNS = (  # what stands on the claim itself, without identifiers
    "claim_features:claim_type", "claim_features:place_of_service_code", "claim_features:bill_type_code",
    "claim_features:revenue_center_code", "claim_features:hcpcs_code", "claim_features:hcpcs_modifier_1",
    "claim_features:diagnosis_code_1", "claim_features:diagnosis_count", "claim_features:payer",
    "claim_features:plan", "claim_features:in_network_flag", "claim_features:is_replacement",
    "claim_features:charge_amount", "claim_features:line_count", "claim_features:unit_count",
    "claim_features:modifier_count", "claim_features:service_month", "claim_features:service_to_receipt_days",
)  # fmt: skip

denials = ModelDefinition(
    name="denials",
    question="Will this claim be denied, as it was submitted?",
    label=Label(table="claim_label", column="is_denied"),
    keys=("claim_id",),
    spine="claim_features",
    features=("claim_features:*", "provider_history:*", "member_history:*"),
    # A decision takes up to 30 days: the newest 35 are left out, and no training rows come from the 30 before the test.
    split=TimeSplit(test_days=75, gap_days=30, label_maturity_days=35),
    estimator=LightGBM(search=HyperparameterSearch(trials=10, seed=7)),
    task=Binary(
        labels=("pays", "denies"),
        # Catch four of five denials; whoever works the list says how many false alarms that may cost.
        threshold=Threshold(recall="0.80"),
        # Denials rise and fall with the season by five points of a hundred, and no model knows the next one.
        acceptance=BinaryCriteria(
            auc=0.65, brier=0.2, calibration_error=0.05, margin=0.01, subgroup_auc=0.6, subgroup_calibration_gap=0.08
        ),
    ),
    subgroups=tuple(Subgroup(feature=f"claim_features:{name}") for name in ("claim_type", "plan", "in_network_flag")),
    baselines=(
        Baseline.columns(*COLUMNS),
        Baseline.with_entity("billing_npi", *COLUMNS),
        Baseline.heuristic("provider_history:denial_rate_30d"),
    ),
)
