"""The dialect that a contract declares, and the values of its fields."""

from __future__ import annotations

import pytest

from tests.builders.contracts import contract
from wellspring.data.formats.csv.dialect import Dialect, read_dialect


def test_the_default_is_rfc_4180_and_a_contract_can_declare_another():
    assert read_dialect(contract()) == Dialect(",", '"', "double")
    settings = {"delimiter": ";", "quote": "none", "escape": "backslash"}
    assert read_dialect(contract(format_settings=settings)) == Dialect(";", "none", "backslash")


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        (Dialect(), b'"a ""b"""', b'a "b"'),
        (Dialect(), b'a ""b', b'a ""b'),
        (Dialect(), b'"a\\"', b"a\\"),
        (Dialect(escape="backslash"), rb'"a \"b\\"', b'a "b\\'),
        (Dialect(escape="backslash"), rb"a\,b\n", b"a,b\\n"),
        (Dialect(quote="none"), b'"a""b"', b'"a""b"'),
    ],
)
def test_a_field_has_its_value(dialect: Dialect, field: bytes, value: bytes):
    assert dialect.unescape(field) == value


def test_regular_records_end_before_a_wrong_quote():
    pattern = Dialect().patterns.regular
    match = pattern.match(b'1,19"\n2,"a\nb"\n3,"a"b\n4,x\n')
    assert match is not None
    assert match.end() == len(b'1,19"\n2,"a\nb"\n')
