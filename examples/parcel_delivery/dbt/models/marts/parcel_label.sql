-- The outcome of a parcel, as known at each instant.
select
  parcel_id,
  closing.outcome,
  date_diff('second', parcel.recorded_at, closing.closed_at) / 3600.0 as delivery_hours,
  closing.recorded_at as known_since,
  closing.version as sequence
from {{ ref("stg_closing") }} as closing
inner join {{ ref("stg_parcel") }} as parcel using (parcel_id)
