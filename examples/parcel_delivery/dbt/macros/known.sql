{# A window over the days before a row, the row's own instant included. #}
{% macro known(keys, days) %}(
  partition by {{ keys }} order by instant range between {{ days * 86400 * 1000000 }}::bigint preceding and current row
){% endmacro %}

{# Keep the last arrival of rows that arrived more than once. #}
{% macro last_arrival(keys) %}
qualify row_number() over (
  partition by {{ keys }} order by known_since desc, drop_id desc, replay_number desc, row_number desc
) = 1
{% endmacro %}
