-- What was known of a member at each instant at which a claim, a decision, coverage or a limit of theirs was recorded.
with event as (
  select member_id, instant, claims, outcomes, denials, carc_code, claim_start_date
  from {{ ref("claim_event") }}
),

moment as (
  select member_id, instant from event
  union
  select member_id, epoch_us(recorded_at) as instant from {{ ref("stg_eligibility") }}
  union
  select member_id, epoch_us(recorded_at) as instant from {{ ref("stg_accumulator") }}
),

marked as (
  select member_id, instant, claims, outcomes, denials, carc_code, false as is_moment from event
  union all
  select member_id, instant, 0, 0, 0, null, true from moment
),

counted as (
  select
    member_id,
    instant,
    is_moment,
    sum(claims) over d90 as claims_90d,
    sum(claims) over d365 as claims_365d,
    sum(denials) over d90 as denials_90d,
    sum(denials) over d365 as denials_365d,
    sum(outcomes) over d365 as outcomes_365d,
    coalesce(sum((carc_code in {{ family("coverage") }})::bigint) over d365, 0) as coverage_denials_365d,
    coalesce(sum((carc_code = '22')::bigint) over d365, 0) as other_payer_denials_365d
  from marked
  window d90 as {{ known("member_id", 90) }}, d365 as {{ known("member_id", 365) }}
),

span as (
  select
    moment.member_id,
    moment.instant,
    make_timestamptz(moment.instant)::date as today,
    eligibility.enrollment_start_date as starts,
    coalesce(eligibility.enrollment_end_date, date '9999-12-31') as ends
  from moment
  inner join {{ ref("stg_eligibility") }} as eligibility
    on moment.member_id = eligibility.member_id and epoch_us(eligibility.recorded_at) <= moment.instant
  qualify row_number() over (
    partition by moment.member_id, moment.instant, eligibility.enrollment_start_date
    order by eligibility.recorded_at desc
  ) = 1
),

coverage as (
  select
    member_id,
    instant,
    count(*) as coverage_spans,
    bool_or(today between starts and ends) as is_covered,
    min(case when today < starts then date_diff('day', today, starts)
             when today > ends then date_diff('day', ends, today) else 0 end) as coverage_gap_days
  from span
  group by member_id, instant
),

known_rows as (
  select
    moment.member_id,
    moment.instant,
    accumulator.benefit,
    accumulator.service_type_code,
    accumulator.remaining_amount::double as remaining,
    (1 - accumulator.remaining_amount / nullif(accumulator.limit_amount, 0))::double as used_share
  from moment
  inner join {{ ref("stg_accumulator") }} as accumulator
    on moment.member_id = accumulator.member_id
    and accumulator.level = 'IND' and accumulator.network = 'Y'
    and accumulator.plan_year = year(make_timestamptz(moment.instant))
    and epoch_us(accumulator.recorded_at) <= moment.instant
  qualify row_number() over (
    partition by moment.member_id, moment.instant, accumulator.benefit, accumulator.service_type_code
    order by accumulator.recorded_at desc
  ) = 1
),

benefit as (
  select
    member_id,
    instant,
    max(remaining) filter (where benefit = 'deductible') as deductible_remaining,
    max(remaining) filter (where benefit = 'oop_max') as oop_remaining,
    max(used_share) filter (where benefit = 'benefit_max' and service_type_code = 'AE') as therapy_used_share,
    max(used_share) filter (where benefit = 'benefit_max' and service_type_code = 'MH') as mental_health_used_share
  from known_rows
  group by member_id, instant
)

select
  member_id,
  make_timestamptz(instant) as known_since,
  row_number() over (partition by member_id order by instant) as sequence,
  claims_90d::bigint as claims_90d,
  claims_365d::bigint as claims_365d,
  denials_90d::bigint as denials_90d,
  denials_365d::bigint as denials_365d,
  outcomes_365d::bigint as outcomes_365d,
  coverage_denials_365d::bigint as coverage_denials_365d,
  other_payer_denials_365d::bigint as other_payer_denials_365d,
  coalesce(coverage_spans, 0)::bigint as coverage_spans,
  coalesce(is_covered, false) as is_covered,
  coverage_gap_days::bigint as coverage_gap_days,
  deductible_remaining,
  oop_remaining,
  coalesce(therapy_used_share, 0) as therapy_used_share,
  coalesce(mental_health_used_share, 0) as mental_health_used_share
from counted
left join coverage using (member_id, instant)
left join benefit using (member_id, instant)
where is_moment
