-- The remaining amount of a limit, each time that it became known.
select
  member_id,
  plan_year,
  level,
  network,
  service_type_code,
  benefit,
  limit_amount,
  remaining_amount,
  recorded_at
from {{ source("landed", "accumulator") }}
{{ newest("member_id, plan_year, level, network, service_type_code, benefit, recorded_at") }}
