"""Parameters of a job hold no secret and no long text."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.worker.job_parameters import MAX_PARAMETER_LENGTH, check_parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"token": "x"},
        {"login_token": ""},
        {"Password": "x"},
        {"revision": {"credentials": {}}},
        {"list": ["hvs.CAESIJlU02LQZq0123456789"]},
        {"text": "s.0123456789abcdefghijklmn"},
        {"text": "-----BEGIN PRIVATE KEY-----"},
        {"text": "x" * (MAX_PARAMETER_LENGTH + 1)},
    ],
)
def test_a_secret_or_a_long_text_is_refused_without_its_value(parameters: dict[str, JsonValue]):
    with pytest.raises(Refused) as raised:
        check_parameters(parameters)
    assert "hvs." not in raised.value.what


def test_names_counts_and_short_texts_pass():
    check_parameters({"revision": {"commit": "a" * 40, "dirty": False}, "count": 3, "predictions": ["p1", None]})
