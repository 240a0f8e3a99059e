-- Each record of an outcome.
select
  parcel_id,
  outcome,
  closed_at,
  recorded_at,
  row_number() over (partition by parcel_id order by recorded_at) as version
from (
  select * from {{ source("landed", "closing") }}
  {{ last_arrival("parcel_id, recorded_at") }}
)
