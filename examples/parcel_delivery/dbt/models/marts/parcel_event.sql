-- Accepted parcels and their outcomes in the order in which they were recorded; all history is counted from this table.
select
  parcel_id,
  shipper_id,
  depot_id,
  instant,
  true as is_accepted,
  null::varchar as outcome,
  null::bigint as delivery_seconds
from {{ ref("stg_parcel") }}

union all by name

select
  parcel_id,
  parcel.shipper_id,
  parcel.depot_id,
  epoch_us(closing.recorded_at) as instant,
  false as is_accepted,
  closing.outcome,
  -- A later row of the same parcel corrects the outcome, and not the time.
  case when closing.version = 1 then date_diff('second', parcel.recorded_at, closing.closed_at) end as delivery_seconds
from {{ ref("stg_closing") }} as closing
inner join {{ ref("stg_parcel") }} as parcel using (parcel_id)
