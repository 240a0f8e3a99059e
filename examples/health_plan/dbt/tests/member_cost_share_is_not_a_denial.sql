-- A claim on which nothing was paid, because all of it was deductible, coinsurance or copayment, is not a denial.
select label.claim_id
from {{ ref("claim_label") }} as label
where label.is_denied and label.carc_code in ('1', '2', '3', '45')
