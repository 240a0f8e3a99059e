"""Tables, ages and bars as plain text."""

import sys

import pytest

from wellspring.cli.render import format_age, progress_bar, render_table


def test_numbers_stand_to_the_right_and_words_to_the_left():
    assert render_table(("drop", "rows"), [("a", 20_000), ("bcd", 7)], title="two") == (
        "two\ndrop    rows\n----  ------\na     20,000\nbcd        7"
    )


def test_a_table_without_rows_is_its_header():
    assert render_table(("drop", "rows"), []) == "drop  rows\n----  ----"


def test_cells_are_written_for_people():
    assert (
        render_table(("a", "b", "c", "d"), [(True, False, 1234.5, None)]).splitlines()[-1] == "yes  no  1,234.50  None"
    )


def test_a_wide_character_in_no_cell_breaks_nothing():
    assert "é" in render_table(("wörter",), [("é",)])


@pytest.mark.parametrize(
    ("seconds", "output"),
    [(None, "never"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (7_200, "2 h"), (172_800, "2 d")],
)
def test_an_age_is_said_as_a_person_would(seconds: int | None, output: str):
    assert format_age(seconds) == output


def test_no_bar_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    with progress_bar(enabled=True) as draw:
        draw("fetch", 1, 2)
    result = capsys.readouterr()
    assert (result.out, result.err) == ("", "")


def test_a_bar_a_stage_is_drawn_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(enabled=True) as draw:
        draw("fetch", 0, 0)
        draw("fetch", 5, 10)
        draw("validate", 10, 10)
    assert capsys.readouterr().out == ""
