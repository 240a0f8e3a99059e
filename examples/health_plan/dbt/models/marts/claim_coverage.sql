-- Beside each version of a claim, the member's coverage on the day of service, as known when the claim was recorded.
with span as (
  -- Of each span what was last recorded about it by then.
  select
    claim.claim_id,
    claim.version,
    claim.claim_start_date,
    claim.plan as claim_plan,
    eligibility.plan,
    eligibility.enrollment_start_date as starts,
    coalesce(eligibility.enrollment_end_date, date '9999-12-31') as ends
  from {{ ref("claim") }} as claim
  inner join {{ ref("stg_eligibility") }} as eligibility
    on claim.member_id = eligibility.member_id and eligibility.recorded_at <= claim.recorded_at
  qualify row_number() over (
    partition by claim.claim_id, claim.version, eligibility.enrollment_start_date
    order by eligibility.recorded_at desc
  ) = 1
)

select
  claim_id,
  version,
  bool_or(claim_start_date between starts and ends) as is_covered,
  min(case when claim_start_date < starts then date_diff('day', claim_start_date, starts)
           when claim_start_date > ends then date_diff('day', ends, claim_start_date) else 0 end) as coverage_gap_days,
  bool_and(claim_start_date < starts) as before_coverage,
  max(case when claim_start_date between starts and ends then date_diff('day', starts, claim_start_date) end)
    as days_since_coverage_start,
  count(*) as coverage_spans,
  bool_or(claim_start_date between starts and ends and plan = claim_plan) as plan_matches_coverage
from span
group by claim_id, version
