-- One row for each version of a claim, its lines together. A claim is known by its first line's procedure.
select
  claim_id,
  recorded_at,
  epoch_us(recorded_at) as instant,
  row_number() over (partition by claim_id order by recorded_at) as version,
  first(claim_record_type = 'replacement' order by claim_line_number) as is_replacement,
  first(original_claim_id order by claim_line_number) as original_claim_id,
  first(claim_type order by claim_line_number) as claim_type,
  first(member_id order by claim_line_number) as member_id,
  first(payer order by claim_line_number) as payer,
  first(plan order by claim_line_number) as plan,
  first(claim_start_date order by claim_line_number) as claim_start_date,
  first(claim_end_date order by claim_line_number) as claim_end_date,
  first(place_of_service_code order by claim_line_number) as place_of_service_code,
  first(bill_type_code order by claim_line_number) as bill_type_code,
  first(revenue_center_code order by claim_line_number) as revenue_center_code,
  first(hcpcs_code order by claim_line_number) as hcpcs_code,
  first(hcpcs_modifier_1 order by claim_line_number) as hcpcs_modifier_1,
  first(service_unit_quantity order by claim_line_number) as first_units,
  -- Whole cents: a sum of floats depends on the order in which threads add.
  (first(charge_amount order by claim_line_number) * 100)::bigint as first_cents,
  first(rendering_npi order by claim_line_number) as rendering_npi,
  first(billing_npi order by claim_line_number) as billing_npi,
  first(diagnosis_code_1 order by claim_line_number) as diagnosis_code_1,
  first(
    (diagnosis_code_1 is not null)::bigint
    + (diagnosis_code_2 is not null)::bigint
    + (diagnosis_code_3 is not null)::bigint
    order by claim_line_number
  ) as diagnosis_count,
  first(in_network_flag order by claim_line_number) as in_network,
  first(prior_auth_number order by claim_line_number) as prior_auth_number,
  (sum(charge_amount) * 100)::bigint as cents,
  count(*) as line_count,
  sum(service_unit_quantity)::bigint as unit_count,
  count(hcpcs_modifier_1) as modifier_count,
  count(*) filter (where hcpcs_code is null) as uncoded_line_count
from {{ ref("stg_claim_line") }}
group by claim_id, recorded_at
