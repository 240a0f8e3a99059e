-- A key has at most one row for each instant: otherwise its newest row would not be defined.
select 'claim_features' as model, claim_id as key_value from {{ ref("claim_features") }} group by claim_id, known_since having count(*) > 1
union all
select 'claim_label', claim_id from {{ ref("claim_label") }} group by claim_id, known_since having count(*) > 1
union all
select 'provider_history', billing_npi from {{ ref("provider_history") }} group by billing_npi, known_since having count(*) > 1
union all
select 'member_history', member_id from {{ ref("member_history") }} group by member_id, known_since having count(*) > 1
