"""The features of a parcel when it is accepted, and of the depot that accepts it.

Standard Feast definitions. Each view is a table that dbt builds; `known_since` is the instant at which a row was known,
so that a model is trained only on what was known when a parcel was accepted.
"""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String

OWNER = "parcels@carrier.example"
OUTCOMES = "damaged, delivered, pickup_point, returned"

parcel = Entity(name="parcel", join_keys=["parcel_id"], value_type=ValueType.STRING, description="a parcel, as a token")
depot = Entity(name="depot", join_keys=["depot_id"], value_type=ValueType.STRING, description="a depot, as a token")

parcel_features = FeatureView(
    name="parcel_features",
    entities=[parcel],
    ttl=timedelta(days=7),  # a prediction from an older edition is marked stale
    owner=OWNER,
    source=FileSource(path="parcel_features", timestamp_field="known_since"),
    schema=[
        Field(name="service", dtype=String, description="the paid service", tags={"categories": "express, standard"}),
        Field(
            name="destination",
            dtype=String,
            description="the kind of place that it goes to",
            tags={"categories": "business, home, locker"},
        ),
        Field(name="distance_km", dtype=Int64, description="the distance to the destination"),
        Field(name="weight_kg", dtype=Float64, description="the weight"),
        Field(name="fragile", dtype=Bool, description="it is marked as fragile"),
        Field(name="signature_required", dtype=Bool, description="somebody must sign for it"),
        Field(name="accepted_weekday", dtype=Int64, description="the weekday of acceptance, 1 is Monday"),
        Field(name="accepted_hour", dtype=Int64, description="the hour of acceptance in UTC"),
        Field(name="depot_parcels_1d", dtype=Int64, description="parcels that the depot accepted in the last day"),
        Field(
            name="shipper_returned_share_45d",
            dtype=Float64,
            description="the share of the shipper's outcomes of the last 45 days that were returns",
        ),
        Field(
            name="shipper_damaged_share_45d",
            dtype=Float64,
            description="the share of the shipper's outcomes of the last 45 days that were damages",
        ),
        Field(
            name="shipper_last_outcome",
            dtype=String,
            description="the newest known outcome of the shipper",
            tags={"categories": OUTCOMES},
        ),
    ],
)

depot_history = FeatureView(
    name="depot_history",
    entities=[depot],
    ttl=timedelta(days=2),
    owner=OWNER,
    source=FileSource(path="depot_history", timestamp_field="known_since"),
    schema=[
        Field(name="mean_hours_7d", dtype=Float64, description="the depot's mean hours of the last 7 days"),
        Field(name="damaged_share_28d", dtype=Float64, description="the depot's share of damages in the last 28 days"),
    ],
)
