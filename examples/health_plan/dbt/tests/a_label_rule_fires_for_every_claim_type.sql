-- A claim type of which many claims were decided and none denied: the rule that says what a denial is has missed it.
select claim.claim_type
from {{ ref("claim") }} as claim
inner join {{ ref("claim_label") }} as label using (claim_id)
group by claim.claim_type
having count(*) >= 500 and count(*) filter (where label.is_denied) = 0
