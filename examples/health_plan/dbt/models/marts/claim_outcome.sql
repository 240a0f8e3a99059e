-- What was known of each claim's outcome, at each instant at which something about it was recorded.
--
-- Denied: nothing is paid, and an adjustment of that decision says why. What the member owes (PR-1 to 3) and what the
-- contract writes off (CO-45) are no denials.
with moment as (
  select claim_id, recorded_at from {{ ref("stg_remittance") }}
  union
  select claim_id, recorded_at from {{ ref("stg_claim_adjustment") }}
),

decided as (
  -- Before the first decision there is no outcome.
  select
    moment.claim_id,
    moment.recorded_at,
    remittance.recorded_at as decided_at,
    remittance.adjudicated_date,
    remittance.paid_amount
  from moment
  asof join {{ ref("stg_remittance") }} as remittance
    on moment.claim_id = remittance.claim_id and moment.recorded_at >= remittance.recorded_at
),

adjusted as (
  -- The adjustments of that decision and of no earlier one, each as it was last recorded, whatever it said before.
  select
    decided.claim_id,
    decided.recorded_at,
    adjustment.adjustment_group_code,
    adjustment.carc_code,
    adjustment.rarc_code,
    adjustment.adjustment_amount
  from decided
  inner join {{ ref("stg_claim_adjustment") }} as adjustment
    on decided.claim_id = adjustment.claim_id
    and adjustment.recorded_at between decided.decided_at and decided.recorded_at
  qualify row_number() over (
    partition by
      decided.claim_id, decided.recorded_at, adjustment.claim_line_number, adjustment.adjustment_sequence
    order by adjustment.recorded_at desc
  ) = 1
),

summed as (
  select claim_id, recorded_at, carc_code, sum(adjustment_amount) as amount, max(rarc_code) as rarc_code
  from adjusted
  where adjustment_group_code in ('CO', 'OA', 'PI') and carc_code not in ('1', '2', '3', '45')
  group by claim_id, recorded_at, carc_code
),

reason as (
  -- Of several reasons the one that weighs most in dollars.
  select claim_id, recorded_at, carc_code, rarc_code
  from summed
  qualify row_number() over (partition by claim_id, recorded_at order by amount desc, carc_code) = 1
),

known_rows as (
  select
    decided.claim_id,
    decided.recorded_at,
    decided.adjudicated_date,
    decided.paid_amount = 0 and reason.carc_code is not null as is_denied,
    case when decided.paid_amount = 0 then reason.carc_code end as carc_code,
    case when decided.paid_amount = 0 then reason.rarc_code end as rarc_code
  from decided
  left join reason using (claim_id, recorded_at)
)

select
  *,
  row_number() over (partition by claim_id order by recorded_at) as version,
  coalesce(lag(is_denied) over (partition by claim_id order by recorded_at), false) as was_denied
from known_rows
