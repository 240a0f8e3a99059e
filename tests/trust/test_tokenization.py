"""Tokens are the same for ever, join only within one domain, and have no way back."""

import base64
import hashlib
import hmac

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.errors import CorruptedError, NotFound
from wellspring.trust import tokenization
from wellspring.trust.tokenization import Tokenizer

KEY = bytes(range(32))
TOKENS = Tokenizer({"member": (1, KEY), "provider": (1, KEY), "claim": (7, bytes(32))})
TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=20), max_size=30)


def by_the_book(domain: str, version: int, key: bytes, value: str) -> str:
    """Make a token from the RFCs' own words: HKDF (5869) with an empty salt, HMAC (2104), base32 (4648)."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    derived = hmac.digest(extracted, f"wellspring/token/v1/{domain}/{version}".encode() + b"\1", "sha256")
    mac = hmac.new(derived, value.encode(), hashlib.sha256).digest()[:16]
    return f"{domain}_k{version}_{base64.b32encode(mac).decode().lower().rstrip('=')}"


def test_known_tokens_are_unchanged():
    # Written down once: a change of any step would cut the lake's joins in two.
    assert TOKENS.tokenize_value("member", "WSP000000001") == "member_k1_g3tcfczyiumyd2q5reziemahxe"
    assert TOKENS.tokenize_value("claim", "") == "claim_k7_z4q7syocuheciuvkpqcbmudqlq"


@given(st.text(st.characters(codec="utf-8")))
def test_token_equals_the_reference_hkdf_hmac(value: str):
    assert TOKENS.tokenize_value("member", value) == by_the_book("member", 1, KEY, value)


@given(TEXTS, st.integers(0, 30))
def test_a_column_is_tokenized_value_by_value_however_it_is_chunked_or_encoded(values: list[str | None], cut: int):
    expected = [None if value is None else TOKENS.tokenize_value("member", value) for value in values]
    plain = pa.array(values, pa.string())
    columns = [
        plain,
        plain.cast(pa.large_string()),
        plain.dictionary_encode(),
        pa.chunked_array([plain[:cut], plain[cut:]], pa.string()),
        pa.chunked_array([], pa.string()) if not values else pa.chunked_array([plain]),
        pa.concat_arrays([pa.array(["before"]), plain])[1:],
    ]
    for column in columns:
        built = TOKENS.tokenize_column("member", column)
        assert built.type == pa.string()
        assert built.to_pylist() == expected


def test_a_null_stays_null():
    assert TOKENS.tokenize_column("member", [None, None]).to_pylist() == [None, None]


def test_two_domains_with_the_same_key_never_join():
    own_value, their_value = TOKENS.tokenize_value("member", "1"), TOKENS.tokenize_value("provider", "1")
    assert own_value.removeprefix("member_k1_") != their_value.removeprefix("provider_k1_")


def test_another_tenant_has_another_token_for_the_same_value_and_key():
    tokens = [Tokenizer({"member": (1, KEY)}, tenant=tenant).tokenize_value("member", "1") for tenant in ("a", "b", "")]
    assert len(set(tokens)) == 3
    # The project's own tenant keeps the tokens that it had before keys had tenants.
    assert tokens[-1] == TOKENS.tokenize_value("member", "1")


def test_no_tenant_domain_and_version_share_a_key_with_others():
    keys = [("a", "b", 1), ("b", "a", 1), ("", "a", 1), ("a", "a", 1), ("a", "a", 2), ("1", "a", 1)]
    tokens = [Tokenizer({domain: (v, KEY)}, tenant=tenant).tokenize_value(domain, "1") for tenant, domain, v in keys]
    assert len({token[-26:] for token in tokens}) == len(keys)


def test_another_version_of_a_key_makes_another_token_and_says_so():
    newer = Tokenizer({"member": (2, KEY)}).tokenize_value("member", "1")
    assert newer.startswith("member_k2_")
    assert newer[-26:] != TOKENS.tokenize_value("member", "1")[-26:]


def test_a_value_is_taken_exactly_as_it_is():
    assert len({TOKENS.tokenize_value("member", value) for value in ("a1", "A1", " a1", "a1 ", "\uff41\uff11")}) == 5


def test_no_function_inverts_a_token():
    public = {name for name in dir(Tokenizer) if not name.startswith("_")}
    assert public == {"tokenize_value", "tokenize_column"}
    functions = {
        name
        for name, member in vars(tokenization).items()
        if getattr(member, "__module__", "") == tokenization.__name__ and not name.startswith("_")
    }
    assert not [name for name in functions if "de" in name.casefold() or "reveal" in name.casefold()]
    with_other_key = Tokenizer({"member": (1, bytes(32))})
    assert with_other_key.tokenize_value("member", "1") != TOKENS.tokenize_value("member", "1")


def test_a_domain_without_a_key_is_refused():
    with pytest.raises(NotFound, match="no token key"):
        TOKENS.tokenize_value("nobody", "1")


def test_a_short_key_is_refused():
    with pytest.raises(CorruptedError, match="fewer than 32 bytes"):
        Tokenizer({"member": (1, b"short")})
