-- Nothing was paid because all of it was the deductible, the coinsurance or a copayment: that is no denial.
select label.claim_id
from {{ ref("claim_label") }} as label
where label.is_denied and label.carc_code in ('1', '2', '3', '45')
