-- Each thing that was ever recorded about a span of coverage: a span that ended has its open row and its closed one.
select
  member_id,
  plan,
  enrollment_start_date,
  enrollment_end_date,
  recorded_at
from {{ source("landed", "eligibility") }}
{{ newest("member_id, enrollment_start_date, recorded_at") }}
