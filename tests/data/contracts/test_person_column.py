"""The column of a contract that names a person."""

from pathlib import Path

import pytest

from tests.builders.contract_texts import JOURNEY, load, problems

FORMAT = "  - { property: format, value: csv }"


def with_person(value: str) -> str:
    return JOURNEY.replace(FORMAT, f"{FORMAT}\n  - {{ property: person, value: {value} }}")


def test_a_contract_names_its_person_column(tmp_path: Path):
    assert load(tmp_path).person is None
    token = next(column.name for column in load(tmp_path).columns if column.egress == "token")
    assert load(tmp_path, with_person(token)).person == token


@pytest.mark.parametrize(("value", "message"), [("nobody", "no column has"), ("3", "no column has")])
def test_another_name_is_an_error_with_its_line(tmp_path: Path, value: str, message: str):
    text = with_person(value)
    line = text.splitlines().index(f"  - {{ property: person, value: {value} }}") + 1
    (error,) = problems(tmp_path, (JOURNEY, text))
    assert message in error
    assert f":{line}: " in error


def test_a_person_is_named_by_a_token(tmp_path: Path):
    plain = next(column.name for column in load(tmp_path).columns if column.egress == "plain")
    (error,) = problems(tmp_path, (JOURNEY, with_person(plain)))
    assert "a person is named by a token column" in error
