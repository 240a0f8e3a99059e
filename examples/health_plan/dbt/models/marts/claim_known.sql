-- Beside each version of a claim, what its own history said when it was recorded. The claim itself is left out of every
-- count.
with counted as (
  select
    *,
    -- What was usual by the end of the day before.
    instant // {{ days(1) }} - 1 as yesterday,
    sum(claims) over member_90 - claims as member_claims_90d,
    sum(denials) over member_90 as member_denials_90d,
    sum(denials) over member_365 as member_denials_365d,
    sum((carc_code = '22')::bigint) over member_365 as member_other_payer_denials_365d,
    max(case when claims = 1 then instant end) over member_before as member_last_claim,
    sum(claims) over same_care_365 - claims as same_care_claims_365d,
    -- What was denied for its day or for its paper is not denied again for the same reason.
    sum((carc_code not in ('18', '26', '27', '29'))::bigint) over same_care_90 as same_care_denials_90d,
    sum((carc_code not in ('18', '26', '27', '29'))::bigint) over same_care_365 as same_care_denials_365d,
    sum(claims) over same_service - claims as same_service_claims,
    sum(claims) over same_day - claims as same_day_claims,
    sum(outcomes) over provider_procedure as provider_procedure_outcomes,
    sum(denials) over provider_procedure as provider_procedure_denials,
    sum(outcomes) over diagnosis_procedure as diagnosis_procedure_outcomes,
    sum((carc_code in {{ family("coding") }})::bigint) over diagnosis_procedure as diagnosis_procedure_denials,
    sum(outcomes) over plan_procedure as plan_procedure_outcomes,
    sum(denials) over plan_procedure as plan_procedure_denials,
    sum((carc_code in {{ family("benefit") }})::bigint) over plan_procedure as plan_procedure_benefit_denials,
    sum((carc_code in {{ family("authorization") }})::bigint) over plan_procedure as plan_procedure_auth_denials,
    sum(outcomes) over procedure_90 as procedure_outcomes_90,
    sum(denials) over procedure_90 as procedure_denials_90,
    sum(claims) over plan_procedure - claims as plan_procedure_claims,
    sum(case when prior_auth_number is not null then claims else 0 end) over plan_procedure
      - case when prior_auth_number is not null then claims else 0 end as plan_procedure_quoted,
    sum(claims) over procedure_365 - claims as procedure_claims,
    sum(case when has_modifier then claims else 0 end) over procedure_365
      - case when has_modifier then claims else 0 end as procedure_modified,
    sum(claims * unit_cents) over procedure_365 - claims * unit_cents as procedure_unit_cents,
    sum(claims * first_units) over under_authorization - claims * first_units as authorized_units_used
  from {{ ref("claim_event") }}
  window
    member_90 as {{ known("member_id", 90) }},
    member_365 as {{ known("member_id", 365) }},
    member_before as (
      partition by member_id order by instant range between unbounded preceding and 1::bigint preceding
    ),
    same_care_90 as {{ known("member_id, hcpcs_code", 90) }},
    same_care_365 as {{ known("member_id, hcpcs_code", 365) }},
    same_service as (
      partition by member_id, claim_start_date, hcpcs_code, billing_npi
      order by instant range between unbounded preceding and current row
    ),
    same_day as (
      partition by member_id, claim_start_date, billing_npi
      order by instant range between unbounded preceding and current row
    ),
    provider_procedure as {{ known("billing_npi, hcpcs_code", 180) }},
    diagnosis_procedure as {{ known("diagnosis_code_1, hcpcs_code", 365) }},
    plan_procedure as {{ known("plan, hcpcs_code", 365) }},
    procedure_90 as {{ known("hcpcs_code", 90) }},
    procedure_365 as {{ known("hcpcs_code", 365) }},
    under_authorization as (
      partition by prior_auth_number order by instant range between unbounded preceding and current row
    )
)

select
  claim_id,
  version,
  instant,
  recent_denial_rate,
  member_claims_90d,
  member_denials_90d,
  member_denials_365d,
  coalesce(member_other_payer_denials_365d, 0) as member_other_payer_denials_365d,
  (instant - member_last_claim) // {{ days(1) }} as days_since_last_claim,
  same_care_claims_365d,
  coalesce(same_care_denials_90d, 0) as same_care_denials_90d,
  coalesce(same_care_denials_365d, 0) as same_care_denials_365d,
  version = 1 and same_service_claims > 0 and not is_replacement as duplicate_of_prior,
  greatest(same_day_claims - same_service_claims, 0) as same_day_other_claims,
  {{ rate("provider_procedure_denials", "provider_procedure_outcomes", "usual_denial_rate", 20) }}
    as provider_procedure_denial_rate_180d,
  {{ rate("coalesce(diagnosis_procedure_denials, 0)", "diagnosis_procedure_outcomes", "0.02", 10) }}
    as diagnosis_procedure_coding_denial_rate_365d,
  {{ rate("plan_procedure_denials", "plan_procedure_outcomes", "usual_denial_rate", 20) }}
    as plan_procedure_denial_rate_365d,
  {{ rate("coalesce(plan_procedure_benefit_denials, 0)", "plan_procedure_outcomes", "0.02", 10) }}
    as plan_procedure_benefit_denial_rate_365d,
  {{ rate("coalesce(plan_procedure_auth_denials, 0)", "plan_procedure_outcomes", "0.02", 10) }}
    as plan_procedure_auth_denial_rate_365d,
  {{ rate("procedure_denials_90", "procedure_outcomes_90", "usual_denial_rate", 20) }} as procedure_denial_rate_90d,
  {{ rate("plan_procedure_quoted", "plan_procedure_claims", "0.1", 5) }} as auth_quoted_share_365d,
  {{ rate("procedure_modified", "procedure_claims", "0.2", 5) }} as modifier_share_365d,
  case when procedure_claims >= 10 then unit_cents * procedure_claims / nullif(procedure_unit_cents, 0)::double end
    as charge_to_usual,
  case when prior_auth_number is not null then authorized_units_used end as authorized_units_used
from (
  select
    counted.*,
    coalesce(usual_rate.usual_denial_rate, 0.1) as usual_denial_rate,
    coalesce(usual_rate.recent_denial_rate, 0.1) as recent_denial_rate
  from counted
  asof left join {{ ref("usual_rate") }} as usual_rate on counted.yesterday >= usual_rate.day
  where is_claim
)
