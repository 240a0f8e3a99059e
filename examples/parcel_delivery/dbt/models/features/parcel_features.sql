-- What a parcel says, and what was known of its shipper and its depot, when it was accepted.
with counted as (
  select
    parcel_id,
    instant,
    is_accepted,
    count(*) filter (where is_accepted) over depot_1 as depot_parcels_1d,
    count(outcome) over shipper_45 as shipper_outcomes,
    count(*) filter (where outcome = 'returned') over shipper_45 as shipper_returned,
    count(*) filter (where outcome = 'damaged') over shipper_45 as shipper_damaged,
    -- Of two outcomes at one instant the number of the parcel decides, so that a second build gives the same one.
    arg_max(outcome, (instant, parcel_id)) over shipper_45 as shipper_last_outcome
  from {{ ref("parcel_event") }}
  window depot_1 as {{ known("depot_id", 1) }}, shipper_45 as {{ known("shipper_id", 45) }}
)

select
  parcel_id,
  parcel.shipper_id,
  parcel.depot_id,
  parcel.service,
  parcel.destination,
  parcel.distance_km::bigint as distance_km,
  parcel.weight_kg::double as weight_kg,
  parcel.fragile,
  parcel.signature_required,
  date_part('isodow', parcel.recorded_at at time zone 'UTC')::bigint as accepted_weekday,
  date_part('hour', parcel.recorded_at at time zone 'UTC')::bigint as accepted_hour,
  counted.depot_parcels_1d,
  counted.shipper_returned::double / nullif(counted.shipper_outcomes, 0) as shipper_returned_share_45d,
  counted.shipper_damaged::double / nullif(counted.shipper_outcomes, 0) as shipper_damaged_share_45d,
  counted.shipper_last_outcome,
  parcel.recorded_at as known_since,
  1::bigint as sequence
from {{ ref("stg_parcel") }} as parcel
inner join counted using (parcel_id)
where counted.is_accepted
