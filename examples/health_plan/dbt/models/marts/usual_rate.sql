-- The denial rate of all claims, by day, from outcomes known by the end of that day; the default when little is known.
with day as (
  select
    instant // {{ days(1) }} as day,
    sum(outcomes) as outcomes,
    sum(denials) as denials
  from {{ ref("claim_event") }}
  group by all
),

counted as (
  select
    day,
    sum(outcomes) over d365 as outcomes_365,
    sum(denials) over d365 as denials_365,
    sum(outcomes) over d30 as outcomes_30,
    sum(denials) over d30 as denials_30
  from day
  window
    d365 as (order by day range between 364 preceding and current row),
    d30 as (order by day range between 29 preceding and current row)
)

select
  day,
  {{ rate("denials_365", "outcomes_365", "0.1", 10) }} as usual_denial_rate,
  {{ rate("denials_30", "outcomes_30", rate("denials_365", "outcomes_365", "0.1", 10), 20) }} as recent_denial_rate
from counted
