{# How long ago, in the unit of the column `instant`: microseconds. #}
{% macro days(count) %}{{ count * 86400 * 1000000 }}::bigint{% endmacro %}

{# A window over what was known about one thing in the days before a row, the row's own instant included. #}
{% macro known(keys, days_back) %}(partition by {{ keys }} order by instant range between {{ days(days_back) }} preceding and current row){% endmacro %}

{# Newest version first, of records that came twice: the order in which they reached us decides. #}
{% macro newest(keys) %}
qualify row_number() over (
  partition by {{ keys }} order by known_since desc, drop_id desc, replay_number desc, row_number desc
) = 1
{% endmacro %}

{# A rate that a few cases cannot carry away: with none at all it is the usual one. #}
{% macro rate(cases, of, usual, weight) %}
(({{ cases }}) + {{ weight }} * ({{ usual }})) / (({{ of }}) + {{ weight }})::double
{% endmacro %}

{# Why a claim is denied, in families of claim adjustment reason codes. #}
{% macro family(name) %}
{%- set codes = {
  "documentation": ["16"],
  "necessity": ["50"],
  "coding": ["4", "11", "97"],
  "coverage": ["22", "26", "27"],
  "authorization": ["197"],
  "benefit": ["96", "109", "119"],
  "filing": ["18", "29"],
} -%}
('{{ codes[name] | join("', '") }}')
{% endmacro %}
