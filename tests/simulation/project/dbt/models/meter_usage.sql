-- What each meter counted in the last 24 hours, as known at each reading.
select
  meter_id,
  sum(watt_hours) over (
    partition by meter_id order by epoch_us(recorded_at) range between 86400000000::bigint preceding and current row
  )::bigint as day_watt_hours,
  recorded_at as known_since,
  row_number() over (partition by meter_id order by recorded_at) as sequence
from {{ source("landed", "reading") }}
