-- The events that history features count: claims at their recorded instant, denials when they became known. An outcome
-- of a claim that was not recorded yet is not counted. A denial that was undone later stays counted.
select
  claim_id,
  instant,
  true as is_claim,
  -- A later version of a claim asks the history, and is not counted a second time.
  (version = 1)::bigint as claims,
  0::bigint as outcomes,
  0::bigint as denials,
  null::varchar as carc_code,
  null::varchar as rarc_code,
  null::bigint as days_to_adjudicate,
  version,
  member_id,
  billing_npi,
  plan,
  hcpcs_code,
  diagnosis_code_1,
  claim_start_date,
  prior_auth_number,
  first_units,
  first_cents // first_units as unit_cents,
  hcpcs_modifier_1 is not null as has_modifier,
  is_replacement
from {{ ref("claim") }}

union all by name

select
  outcome.claim_id,
  epoch_us(outcome.recorded_at) as instant,
  false as is_claim,
  0::bigint as claims,
  (outcome.version = 1)::bigint as outcomes,
  (outcome.is_denied and not outcome.was_denied)::bigint as denials,
  case when outcome.is_denied and not outcome.was_denied then outcome.carc_code end as carc_code,
  case when outcome.is_denied and not outcome.was_denied then outcome.rarc_code end as rarc_code,
  case when outcome.version = 1 then date_diff('day', claim.recorded_at::date, outcome.adjudicated_date) end
    as days_to_adjudicate,
  outcome.version,
  claim.member_id,
  claim.billing_npi,
  claim.plan,
  claim.hcpcs_code,
  claim.diagnosis_code_1,
  claim.claim_start_date,
  claim.prior_auth_number,
  claim.first_units,
  claim.first_cents // claim.first_units as unit_cents,
  claim.hcpcs_modifier_1 is not null as has_modifier,
  claim.is_replacement
from {{ ref("claim_outcome") }} as outcome
inner join {{ ref("claim") }} as claim
  on outcome.claim_id = claim.claim_id and claim.version = 1 and claim.recorded_at <= outcome.recorded_at
