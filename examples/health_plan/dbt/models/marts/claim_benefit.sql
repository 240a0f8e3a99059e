-- For each version of a claim, the remaining limits of its plan year, as last known before it was recorded.
-- A limit that was not used yet has no row.
with known_rows as (
  select
    claim.claim_id,
    claim.version,
    accumulator.level,
    accumulator.service_type_code,
    accumulator.benefit,
    accumulator.network,
    accumulator.remaining_amount::double as remaining,
    (1 - accumulator.remaining_amount / nullif(accumulator.limit_amount, 0))::double as used_share
  from {{ ref("claim") }} as claim
  inner join {{ ref("stg_accumulator") }} as accumulator
    on claim.member_id = accumulator.member_id
    and accumulator.plan_year = year(claim.recorded_at)
    and accumulator.recorded_at <= claim.recorded_at
  qualify row_number() over (
    partition by
      claim.claim_id, claim.version, accumulator.level, accumulator.network,
      accumulator.service_type_code, accumulator.benefit
    order by accumulator.recorded_at desc
  ) = 1
)

select
  claim_id,
  version,
  max(remaining) filter (where level = 'IND' and network = 'Y' and benefit = 'deductible') as deductible_remaining,
  max(remaining) filter (where level = 'IND' and network = 'Y' and benefit = 'oop_max') as oop_remaining,
  -- Physical medicine (AE) and mental health (MH) have limits of their own.
  max(used_share) filter (where benefit = 'benefit_max' and service_type_code = 'AE') as therapy_used_share,
  max(used_share) filter (where benefit = 'benefit_max' and service_type_code = 'MH') as mental_health_used_share
from known_rows
group by claim_id, version
