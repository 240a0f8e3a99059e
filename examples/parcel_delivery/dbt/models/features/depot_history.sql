-- What was known of a depot at each instant at which an outcome of one of its parcels was recorded.
with counted as (
  select
    depot_id,
    instant,
    outcome,
    -- A sum of whole seconds is exact, so that a second build gives the same mean.
    sum(delivery_seconds) over depot_7 / (3600.0 * count(delivery_seconds) over depot_7) as mean_hours_7d,
    count(*) filter (where outcome = 'damaged') over depot_28 / count(outcome) over depot_28 as damaged_share_28d
  from {{ ref("parcel_event") }}
  window depot_7 as {{ known("depot_id", 7) }}, depot_28 as {{ known("depot_id", 28) }}
)

select
  depot_id,
  make_timestamptz(instant) as known_since,
  row_number() over (partition by depot_id order by instant)::bigint as sequence,
  any_value(mean_hours_7d) as mean_hours_7d,
  any_value(damaged_share_28d) as damaged_share_28d
from counted
where outcome is not null
group by depot_id, instant
