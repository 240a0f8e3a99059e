-- Each parcel, as it was accepted.
select
  parcel_id,
  shipper_id,
  depot_id,
  service,
  destination,
  distance_km,
  weight_kg,
  fragile,
  signature_required,
  recorded_at,
  epoch_us(recorded_at) as instant
from {{ source("landed", "parcel") }}
{{ last_arrival("parcel_id") }}
