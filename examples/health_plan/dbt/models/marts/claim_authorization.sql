-- Beside each version of a claim, what the files said of the authorization that it quotes, when it was recorded.
select
  claim.claim_id,
  claim.version,
  authorization_.hcpcs_code as approved_code,
  claim.claim_start_date between authorization_.approved_from and authorization_.approved_to as in_time,
  authorization_.approved_units
from {{ ref("claim") }} as claim
asof join {{ ref("stg_prior_authorization") }} as authorization_
  on claim.prior_auth_number = authorization_.prior_auth_number and claim.recorded_at >= authorization_.recorded_at
