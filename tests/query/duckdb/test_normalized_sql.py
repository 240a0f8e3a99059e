"""Two texts of one SELECT have the same form, and two SELECTs do not."""

import pytest

from wellspring.query.duckdb.normalized_sql import normalize_select

SELECT = "select a, b from visit where c = 1 and d like 'x%'"


@pytest.mark.parametrize(
    "text",
    [
        "-- why\n" + SELECT,
        SELECT.replace(" ", "\n\t"),
        SELECT.replace("select", "SELECT").replace("from", "From"),
        "/* a */ " + SELECT.replace("c = 1", "c=1") + ";",
    ],
)
def test_comments_layout_and_case_of_words_make_no_difference(text: str):
    assert normalize_select(text) == normalize_select(SELECT)


@pytest.mark.parametrize(
    "text",
    [SELECT.replace("1", "2"), SELECT.replace("'x%'", "'X%'"), SELECT.replace("a, b", "b, a"), SELECT + " limit 1"],
)
def test_another_meaning_makes_a_difference(text: str):
    assert normalize_select(text) != normalize_select(SELECT)


@pytest.mark.parametrize(
    "text", ["", "create table a (b int)", "select from where", "select 1; select 2", "{{ ref('a') }}"]
)
def test_other_texts_stay_as_they_are_or_differ(text: str):
    assert normalize_select(text) != normalize_select(SELECT)


def test_a_parsed_text_is_never_run(tmp_path: object):
    normalize_select("select * from read_csv('/etc/passwd')")
    assert normalize_select("copy (select 1) to '/nowhere'") == "copy (select 1) to '/nowhere'"
