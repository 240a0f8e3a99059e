-- Whether a claim was denied, as far as it was known at each instant: an appeal or an audit is a later row.
select
  claim_id,
  is_denied,
  carc_code,
  recorded_at as known_since,
  version::bigint as sequence
from {{ ref("claim_outcome") }}
