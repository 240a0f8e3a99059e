-- Each line of each version of a claim, once: the same file may come twice.
select
  claim_id,
  claim_line_number,
  claim_record_type,
  original_claim_id,
  claim_type,
  member_id,
  payer,
  plan,
  claim_start_date,
  claim_end_date,
  place_of_service_code,
  bill_type_code,
  revenue_center_code,
  hcpcs_code,
  hcpcs_modifier_1,
  service_unit_quantity,
  rendering_npi,
  billing_npi,
  diagnosis_code_1,
  diagnosis_code_2,
  diagnosis_code_3,
  charge_amount,
  in_network_flag,
  prior_auth_number,
  recorded_at
from {{ source("landed", "medical_claim") }}
{{ newest("claim_id, claim_line_number, recorded_at") }}
