-- What a claim says, and what history said of it when it was recorded. A claim that is sent again is a later row.
select
  claim.claim_id,
  claim.member_id,
  claim.billing_npi,
  claim.rendering_npi,
  claim.recorded_at as known_since,
  claim.version::bigint as sequence,
  claim.claim_type,
  claim.place_of_service_code,
  claim.bill_type_code,
  claim.revenue_center_code,
  claim.hcpcs_code,
  claim.hcpcs_modifier_1,
  claim.diagnosis_code_1,
  claim.diagnosis_count::bigint as diagnosis_count,
  claim.payer,
  claim.plan,
  claim.in_network as in_network_flag,
  claim.is_replacement,
  claim.cents / 100.0::double as charge_amount,
  known.charge_to_usual,
  claim.line_count::bigint as line_count,
  claim.unit_count::bigint as unit_count,
  claim.modifier_count::bigint as modifier_count,
  claim.uncoded_line_count::bigint as uncoded_line_count,
  month(claim.claim_start_date)::bigint as service_month,
  month(claim.recorded_at)::bigint as received_month,
  date_diff('day', claim.claim_end_date, claim.recorded_at::date)::bigint as service_to_receipt_days,
  date_diff('day', claim.claim_start_date, claim.claim_end_date)::bigint as stay_days,
  coalesce(coverage.is_covered, false) as is_covered,
  coverage.coverage_gap_days::bigint as coverage_gap_days,
  coalesce(coverage.before_coverage, false) as before_coverage,
  coverage.days_since_coverage_start::bigint as days_since_coverage_start,
  coalesce(coverage.coverage_spans, 0)::bigint as coverage_spans,
  coalesce(coverage.plan_matches_coverage, false) as plan_matches_coverage,
  known.auth_quoted_share_365d,
  known.auth_quoted_share_365d >= 0.5 as auth_required,
  case
    when claim.prior_auth_number is null then 'none'
    when authorization_.approved_code is null then 'not_on_file'
    when authorization_.approved_code is distinct from claim.hcpcs_code then 'other_code'
    when authorization_.in_time then 'valid'
    else 'expired'
  end as auth_state,
  (authorization_.approved_units - known.authorized_units_used - claim.first_units)::bigint as auth_units_left,
  known.modifier_share_365d,
  claim.hcpcs_modifier_1 is null and known.modifier_share_365d >= 0.5 as modifier_missing,
  benefit.deductible_remaining,
  benefit.oop_remaining,
  -- The limit that the procedure counts towards: physical medicine is 97xxx, psychotherapy 908xx.
  case
    when claim.hcpcs_code like '97%' then coalesce(benefit.therapy_used_share, 0)
    when claim.hcpcs_code like '908%' then coalesce(benefit.mental_health_used_share, 0)
  end as benefit_used_share,
  known.duplicate_of_prior,
  known.same_day_other_claims::bigint as same_day_other_claims,
  known.days_since_last_claim::bigint as days_since_last_claim,
  known.member_claims_90d::bigint as member_claims_90d,
  known.member_denials_90d::bigint as member_denials_90d,
  known.member_denials_365d::bigint as member_denials_365d,
  known.member_other_payer_denials_365d::bigint as member_other_payer_denials_365d,
  known.same_care_claims_365d::bigint as same_care_claims_365d,
  known.same_care_denials_90d::bigint as same_care_denials_90d,
  known.same_care_denials_365d::bigint as same_care_denials_365d,
  known.recent_denial_rate,
  known.procedure_denial_rate_90d,
  known.provider_procedure_denial_rate_180d,
  known.diagnosis_procedure_coding_denial_rate_365d,
  known.plan_procedure_denial_rate_365d,
  known.plan_procedure_benefit_denial_rate_365d,
  known.plan_procedure_auth_denial_rate_365d
from {{ ref("claim") }} as claim
inner join {{ ref("claim_known") }} as known using (claim_id, version)
left join {{ ref("claim_coverage") }} as coverage using (claim_id, version)
left join {{ ref("claim_authorization") }} as authorization_ using (claim_id, version)
left join {{ ref("claim_benefit") }} as benefit using (claim_id, version)
