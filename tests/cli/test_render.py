"""Tables, ages and progress bars."""

import sys

import pytest

from wellspring.cli.render import format_age, progress_bar, render_table


def test_numbers_are_right_aligned_and_text_left_aligned():
    assert render_table(("drop", "rows"), [("a", 20_000), ("bcd", 7)], title="two") == (
        "two\ndrop    rows\n----  ------\na     20,000\nbcd        7"
    )


def test_a_table_without_rows_is_its_header():
    assert render_table(("drop", "rows"), []) == "drop  rows\n----  ----"


def test_cells_are_formatted_by_type():
    assert (
        render_table(("a", "b", "c", "d"), [(True, False, 1234.5, None)]).splitlines()[-1] == "yes  no  1,234.50  None"
    )


def test_non_ascii_text_in_a_table():
    assert "é" in render_table(("wörter",), [("é",)])


@pytest.mark.parametrize(
    ("seconds", "output"),
    [(None, "never"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (7_200, "2 h"), (172_800, "2 d")],
)
def test_an_age_is_printed_in_its_largest_unit(seconds: int | None, output: str):
    assert format_age(seconds) == output


def test_without_a_terminal_no_bar_is_drawn(capsys: pytest.CaptureFixture[str]):
    with progress_bar(enabled=True) as draw:
        draw("fetch", 1, 2)
    result = capsys.readouterr()
    assert (result.out, result.err) == ("", "")


def test_on_a_terminal_one_bar_per_stage_is_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(enabled=True) as draw:
        draw("fetch", 0, 0)
        draw("fetch", 5, 10)
        draw("validate", 10, 10)
    assert capsys.readouterr().out == ""
