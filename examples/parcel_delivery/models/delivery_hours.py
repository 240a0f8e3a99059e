"""Predict how many hours the delivery of a parcel takes, when it is accepted."""

from wellspring.stable import (
    Baseline,
    HyperparameterSearch,
    Label,
    LightGBM,
    ModelDefinition,
    Regression,
    RegressionCriteria,
    Subgroup,
    TimeSplit,
)

COLUMNS = (
    "parcel_features:service", "parcel_features:destination", "parcel_features:distance_km",
    "parcel_features:weight_kg",
)  # fmt: skip

delivery_hours = ModelDefinition(
    name="delivery_hours",
    question="How many hours will the delivery of this parcel take?",
    label=Label(table="parcel_label", column="delivery_hours"),
    keys=("parcel_id",),
    spine="parcel_features",
    features=("parcel_features:*", "depot_history:*"),
    # The longest deliveries take five days, and damage is reported at most five days later.
    split=TimeSplit(test_days=25, gap_days=5, label_maturity_days=10),
    estimator=LightGBM(search=HyperparameterSearch(trials=3, seed=7)),
    task=Regression(
        coverage="0.90",
        acceptance=RegressionCriteria(r2=0.6, mae=6.0, coverage_gap=0.05, subgroup_bias=0.25, test_rows=800),
    ),
    subgroups=(Subgroup(feature="parcel_features:service", min_rows=150),),
    baselines=(
        Baseline.constant(),
        Baseline.columns(*COLUMNS),
        Baseline.with_entity("depot_id", *COLUMNS),
        Baseline.heuristic("depot_history:mean_hours_7d"),
    ),
)
