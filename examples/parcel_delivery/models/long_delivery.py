"""Predict whether the delivery of a parcel takes more than 60 hours, when it is accepted; the file is ONNX."""

from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from wellspring.stable import (
    Baseline,
    Label,
    ModelDefinition,
    Onnx,
    Regression,
    RegressionCriteria,
    Subgroup,
    TimeSplit,
)

COLUMNS = (
    "parcel_features:service", "parcel_features:destination", "parcel_features:distance_km",
    "parcel_features:weight_kg",
)  # fmt: skip

long_delivery = ModelDefinition(
    name="long_delivery",
    question="Will the delivery of this parcel take more than 60 hours?",
    label=Label(table="parcel_label", column="delivery_hours"),
    keys=("parcel_id",),
    spine="parcel_features",
    features=("parcel_features:*", "depot_history:*"),
    # The longest deliveries take five days, and damage is reported at most five days later.
    split=TimeSplit(test_days=25, gap_days=5, label_maturity_days=10),
    estimator=Onnx(pipeline=make_pipeline(SimpleImputer(), RandomForestRegressor(40, max_depth=9, min_samples_leaf=5))),
    task=Regression(
        coverage="0.90",
        labels=("short", "long"),
        threshold="60",
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
