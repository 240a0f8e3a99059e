-- Each adjustment of a line of a claim, as often as it was recorded.
select
  claim_id,
  claim_line_number,
  adjustment_sequence,
  adjustment_group_code,
  carc_code,
  rarc_code,
  adjustment_amount,
  recorded_at
from {{ source("landed", "claim_adjustment") }}
{{ newest("claim_id, claim_line_number, adjustment_sequence, recorded_at") }}
