-- Each decision about a claim; of two that were recorded at one instant the later decision counts.
select
  claim_id,
  adjudicated_date,
  claim_status,
  paid_amount,
  recorded_at
from {{ source("landed", "remittance") }}
qualify row_number() over (
  partition by claim_id, recorded_at
  order by adjudicated_date desc, known_since desc, drop_id desc, replay_number desc, row_number desc
) = 1
