-- Each version of a prior authorization: one that was extended has two.
select
  prior_auth_number,
  member_id,
  hcpcs_code,
  approved_from,
  approved_to,
  approved_units,
  recorded_at
from {{ source("landed", "prior_authorization") }}
{{ newest("prior_auth_number, recorded_at") }}
