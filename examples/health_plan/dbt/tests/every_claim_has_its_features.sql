-- No join may lose a claim or double it.
select claim.claim_id, claim.version
from {{ ref("claim") }} as claim
left join {{ ref("claim_features") }} as features on claim.claim_id = features.claim_id and claim.version = features.sequence
group by claim.claim_id, claim.version
having count(features.sequence) <> 1
