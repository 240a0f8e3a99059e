"""Predict how the delivery of a parcel ends, when it is accepted."""

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wellspring.stable import (
    Baseline,
    Label,
    ModelDefinition,
    Multiclass,
    MulticlassCriteria,
    SklearnPipeline,
    Subgroup,
    TimeSplit,
)

COLUMNS = (
    "parcel_features:service", "parcel_features:destination", "parcel_features:distance_km",
    "parcel_features:weight_kg",
)  # fmt: skip

delivery_outcome = ModelDefinition(
    name="delivery_outcome",
    question="How will the delivery of this parcel end?",
    label=Label(table="parcel_label", column="outcome"),
    keys=("parcel_id",),
    spine="parcel_features",
    features=("parcel_features:*", "depot_history:*"),
    split=TimeSplit(test_days=25, gap_days=10, label_maturity_days=10),
    estimator=SklearnPipeline(
        pipeline=make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.5, max_iter=500))
    ),
    task=Multiclass(
        labels=("damaged", "delivered", "pickup_point", "returned"),
        acceptance=MulticlassCriteria(
            macro_f1=0.5,
            log_loss=0.9,
            calibration_error=0.06,
            class_rows=50,
            test_rows=800,
            # The reasons of a pipeline call it for each feature: they take longer than those of a tree model.
            reason_microseconds=100_000,
        ),
    ),
    subgroups=(Subgroup(feature="parcel_features:destination", min_rows=150),),
    baselines=(
        Baseline.constant(),
        Baseline.columns(*COLUMNS),
        Baseline.with_entity("shipper_id", *COLUMNS),
        Baseline.heuristic("parcel_features:shipper_last_outcome"),
    ),
)
