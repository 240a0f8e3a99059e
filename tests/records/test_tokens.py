"""A token names its domain; every other text has none."""

import pytest

from tests.builders.feature_views import token
from wellspring.records.tokens import token_domain


@pytest.mark.parametrize("domain", ["member", "claim_line", "a_k1_b", "k9"])
def test_a_token_names_its_domain(domain: str):
    assert token_domain(token(7, domain)) == domain


@pytest.mark.parametrize(
    "text", ["", "123-45-6789", token(1).upper(), token(1) + "\n", token(1)[:-1], "member_k_" + "a" * 26]
)
def test_another_text_has_no_domain(text: str):
    assert token_domain(text) is None
