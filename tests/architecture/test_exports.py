"""No module writes CSV or a spreadsheet, so no text of a vendor reaches a program that would run it as a formula.

A module that does it in future writes a quote before cells that begin with one of `= + - @`, a tab or a carriage
return, has a test for each, and is listed in `ESCAPING_EXPORTS`.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture import repository

ESCAPING_EXPORTS: dict[str, str] = {}
"""Modules that write CSV or a spreadsheet, and the test of their escapes."""
WRITERS = {"writer", "DictWriter", "write_csv", "to_csv", "to_excel", "sink_csv", "CSVWriter", "open_csv_writer"}
SPREADSHEETS = {"openpyxl", "xlsxwriter", "xlwt", "odf", "pyexcel"}
SQL_EXPORT = re.compile(r"\bcopy\b.*\bto\b.*\b(csv|xlsx)\b", re.IGNORECASE | re.DOTALL)


def find_writers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in WRITERS:
                if name != "writer" or (isinstance(value, ast.Name) and value.id == "csv"):
                    yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                module = getattr(node, "module", None) or ""
                imported = {module.partition(".")[0], *(item.name.partition(".")[0] for item in names)}
                yield from imported & SPREADSHEETS
            case ast.Constant(value=str(text)) if SQL_EXPORT.search(text):
                yield "copy"
            case _:
                continue


def test_no_module_writes_csv_or_a_spreadsheet():
    written = {repository.named(path): set(find_writers(repository.tree(path))) for path in repository.sources()}
    assert {path: names for path, names in written.items() if names and path not in ESCAPING_EXPORTS} == {}


@pytest.mark.parametrize(
    "code",
    [
        "csv.writer(file)", "pyarrow.csv.write_csv(table, path)", "frame.to_csv(path)", "import openpyxl",
        "from xlsxwriter import Workbook", "'copy (select 1) to x (format csv)'",
    ],
)  # fmt: skip
def test_each_kind_of_writer_is_found(code: str):
    assert list(find_writers(ast.parse(code)))
