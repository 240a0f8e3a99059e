-- Decisions recorded before their claim: a few come from claims that arrive late, many are an error in the data.
{{ config(severity="warn") }}
select outcome.claim_id
from {{ ref("claim_outcome") }} as outcome
inner join {{ ref("claim") }} as claim on outcome.claim_id = claim.claim_id and claim.version = 1
where outcome.recorded_at < claim.recorded_at
