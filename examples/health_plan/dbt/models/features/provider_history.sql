-- What was known of a billing provider at each instant at which a claim of it was recorded or decided.
{% set families = ["documentation", "necessity", "coding", "coverage", "authorization", "benefit", "filing"] %}
{% set of_late = ["documentation", "necessity", "coding"] %}
{% set for_long = ["documentation", "necessity"] %}
with event as (
  select
    event.*,
    known.modifier_share_365d >= 0.5 as asks_modifier,
    claim.claim_type = 'institutional' as is_institutional,
    claim.in_network,
    claim.cents,
    date_diff('day', claim.claim_end_date, claim.recorded_at::date) as days_to_file
  from {{ ref("claim_event") }} as event
  left join {{ ref("claim_known") }} as known
    on event.is_claim and event.claim_id = known.claim_id and event.version = known.version
  left join {{ ref("claim") }} as claim
    on event.is_claim and event.claim_id = claim.claim_id and event.version = claim.version
),

counted as (
  select
    billing_npi,
    instant,
    sum(claims) over d30 as claims_30d,
    sum(claims) over d90 as claims_90d,
    sum(outcomes) over d30 as outcomes_30d,
    sum(outcomes) over d90 as outcomes_90d,
    sum(outcomes) over d365 as outcomes_365d,
    sum(denials) over d30 as denials_30d,
    sum(denials) over d90 as denials_90d,
    sum(denials) over d365 as denials_365d,
    {% for family_ in of_late -%}
    coalesce(sum((carc_code in {{ family(family_) }})::bigint) over d30, 0) as {{ family_ }}_30d,
    {% endfor -%}
    {% for family_ in families -%}
    coalesce(sum((carc_code in {{ family(family_) }})::bigint) over d90, 0) as {{ family_ }}_90d,
    {% endfor -%}
    {% for family_ in for_long -%}
    coalesce(sum((carc_code in {{ family(family_) }})::bigint) over d365, 0) as {{ family_ }}_365d,
    {% endfor -%}
    coalesce(sum((rarc_code = 'N706')::bigint) over d30, 0) as records_missing_30d,
    avg(days_to_adjudicate) over d30 as days_to_adjudicate_30d,
    avg(days_to_adjudicate) over d90 as days_to_adjudicate_90d,
    sum(case when asks_modifier then claims else 0 end) over d90 as asking_90d,
    sum(case when asks_modifier and not has_modifier then claims else 0 end) over d90 as unmodified_90d,
    sum(case when asks_modifier then claims else 0 end) over d30 as asking_30d,
    sum(case when asks_modifier and not has_modifier then claims else 0 end) over d30 as unmodified_30d,
    sum(case when is_institutional then claims else 0 end) over d90 as institutional_90d,
    sum(case when not in_network then claims else 0 end) over d90 as out_of_network_90d,
    sum(case when is_replacement and is_claim then claims else 0 end) over d90 as replacements_90d,
    sum(claims * cents) over d90 as cents_90d,
    sum(claims * days_to_file) over d90 as days_to_file_90d,
    row_number() over (partition by billing_npi, instant order by claim_id, is_claim, version) as place
  from event
  window
    d30 as {{ known("billing_npi", 30) }},
    d90 as {{ known("billing_npi", 90) }},
    d365 as {{ known("billing_npi", 365) }}
)

select
  counted.billing_npi,
  make_timestamptz(counted.instant) as known_since,
  row_number() over (partition by counted.billing_npi order by counted.instant) as sequence,
  claims_30d::bigint as claims_30d,
  claims_90d::bigint as claims_90d,
  outcomes_30d::bigint as outcomes_30d,
  outcomes_90d::bigint as outcomes_90d,
  outcomes_365d::bigint as outcomes_365d,
  denials_30d::bigint as denials_30d,
  denials_90d::bigint as denials_90d,
  {{ rate("denials_30d", "outcomes_30d", "usual", 10) }} as denial_rate_30d,
  {{ rate("denials_90d", "outcomes_90d", "usual", 10) }} as denial_rate_90d,
  {{ rate("denials_365d", "outcomes_365d", "usual", 10) }} as denial_rate_365d,
  {{ rate("denials_30d", "outcomes_30d", "usual", 10) }} - {{ rate("denials_365d", "outcomes_365d", "usual", 10) }}
    as denial_rate_trend,
  {% for family_ in of_late -%}
  {{ rate(family_ ~ "_30d", "outcomes_30d", "0.02", 10) }} as {{ family_ }}_denial_rate_30d,
  {% endfor -%}
  {% for family_ in families -%}
  {{ rate(family_ ~ "_90d", "outcomes_90d", "0.02", 10) }} as {{ family_ }}_denial_rate_90d,
  {% endfor -%}
  {% for family_ in for_long -%}
  {{ rate(family_ ~ "_365d", "outcomes_365d", "0.02", 10) }} as {{ family_ }}_denial_rate_365d,
  {% endfor -%}
  records_missing_30d::bigint as records_missing_30d,
  days_to_adjudicate_30d,
  days_to_adjudicate_90d,
  {{ rate("unmodified_30d", "asking_30d", "0.2", 5) }} as modifier_missing_share_30d,
  {{ rate("unmodified_90d", "asking_90d", "0.2", 5) }} as modifier_missing_share_90d,
  institutional_90d / nullif(claims_90d, 0)::double as institutional_share_90d,
  out_of_network_90d / nullif(claims_90d, 0)::double as out_of_network_share_90d,
  replacements_90d / nullif(claims_90d, 0)::double as replacement_share_90d,
  cents_90d / 100 / nullif(claims_90d, 0)::double as charge_mean_90d,
  days_to_file_90d / nullif(claims_90d, 0)::double as days_to_file_mean_90d
from (
  -- What was usual by the end of the day before.
  select counted.*, coalesce(usual_rate.usual_denial_rate, 0.1) as usual
  from counted
  asof left join {{ ref("usual_rate") }} as usual_rate on counted.instant // {{ days(1) }} - 1 >= usual_rate.day
  where counted.place = 1
) as counted
