"""Tables, ages and progress bars."""

import sys

import pytest

from wellspring.cli.render import escape_text, format_age, format_error, progress_bar, render_table

HOSTILE = {
    "a\nok: published": "a\\nok: published",
    "a\rok": "a\\rok",
    "\x1b[2J\x1b]0;owned\x07": "\\x1b[2J\\x1b]0;owned\\x07",
    "\x9b31m\x85": "\\x9b31m\\x85",
    "x\u202evsc.\u2066y": "x\\u202evsc.\\u2066y",
    "x\u200b\u200d\ufeffy": "x\\u200b\\u200d\\ufeffy",
    "x\u2028y\u2029z": "x\\u2028y\\u2029z",
    "x\x00\x7f": "x\\x00\\x7f",
    "x\udcff": "x\\udcff",
    "x\u3164\ufe0f\U000e0101": "x\\u3164\\ufe0f\\U000e0101",
    "x\t\v": "x\\t\\x0b",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_what_a_terminal_acts_on_is_escaped(text: str, shown: str):
    assert escape_text(text) == shown
    assert render_table(("file",), [(text,)]).splitlines()[-1] == shown
    assert render_table((text,), []).splitlines()[0] == shown
    assert format_error("refused", f"x {shown}", shown) == f"refused: x {shown}\nfix: {shown}"


def test_readable_text_stays_as_it_is():
    for text in ("é", "e\u0301", "漢字", "a\\b", "a b"):
        assert escape_text(text) == text


def test_further_lines_of_an_error_cannot_look_like_another_message():
    assert format_error("project", "a\nfix: forged\n  b\x1b", "c\nproject: d") == (
        "project: a\n  fix: forged\n  b\\x1b\nfix: c\n  project: d"
    )


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
