import base64
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verify.predictions import API, answer
from wellspring_verify import promise
from wellspring_verify.canonical import Malformed

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_the_signed_text_is_exactly_this():
    said = {
        "score": 0.75,
        "id": "p",
        "reasons": [{"push": -1.5, "what": "é"}],
        "age_seconds": 3,
        "promise": {"key": "k"},
    }
    assert promise.text(said).decode() == (
        '{"age_seconds":3,"id":"p","reasons":[{"push":"-0x1.8000000000000p+0","what":"é"}],"score":"0x1.8000000000000p-1"}'
    )
    assert promise.digest(said) == hashlib.sha256(promise.text(said)).hexdigest()
    assert promise.key_id(b"\x01" * 32) == hashlib.sha256(b"\x01" * 32).hexdigest()[:16]


@given(FINITE)
def test_a_score_has_one_text_however_it_is_spelled(score: float):
    said = {"id": "p", "score": score}
    assert promise.text(promise.read(json.dumps(said).encode())) == promise.text(said)
    assert promise.text(promise.read(json.dumps(said, indent=3, sort_keys=False).encode())) == promise.text(said)
    assert float.fromhex(promise.exact(score)) == score


@given(FINITE, FINITE)
def test_two_scores_have_two_texts(one: float, other: float):
    assert (promise.text({"score": one}) == promise.text({"score": other})) == (one == other)


def test_what_other_writers_of_json_make_of_a_number_changes_nothing():
    for one, other in ((b"1.0", b"1"), (b"-0.0", b"0"), (b"1e2", b"100")):
        texts = [promise.text(promise.read(b'{"score": %s}' % number)) for number in (one, other)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "said",
    [
        {"age_seconds": 1.5}, {"score": "0x1.8p+0"}, {"score": None}, {"score": True}, {"score": [1.0, "x"]},
        {"score": math.nan}, {"push": math.inf}, {"score": 10**400}, {"n": 2**60}, {"x": "\ud800"}, {"x": {1, 2}},
    ],
)  # fmt: skip
def test_what_has_no_one_text_is_refused(said: dict[str, object]):
    with pytest.raises(Malformed):
        promise.text({"id": "p", **said})


def test_an_answer_nested_too_deeply_is_refused():
    deep: object = 1
    for _ in range(200):
        deep = {"a": [deep]}
    with pytest.raises(Malformed):
        promise.text({"a": deep})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"1", b"\xff", b"{", b'{"a": NaN}', b'{"a": Infinity}', b'{"id": "p", "id": "q"}',
        b'{"a": {"b": 1, "b": 1}}', b'{"a":' + b"[" * 100_000, b" " * (2**20 + 1) + b"{}",
    ],
)  # fmt: skip
def test_only_one_json_object_is_read(content: bytes):
    with pytest.raises(Malformed):
        promise.read(content)


def test_a_promise_holds_under_its_key_only():
    said = answer()
    made = promise.promised(said)
    assert made.key == promise.key_id(API.public)
    assert promise.holds(API.public, made.signature, promise.text(said))
    assert not promise.holds(API.public, made.signature, promise.text({**said, "score": 0.5}))
    assert not promise.holds(b"\x01" * 32, made.signature, promise.text(said))
    assert not promise.holds(b"short", made.signature, promise.text(said))


@pytest.mark.parametrize("spelling", ["{}\n", " {}", "{}=", "url", "short", "", "é"])
def test_a_signature_is_read_in_its_one_spelling_only(spelling: str):
    said = answer()
    signature = base64.b64encode(bytes(range(190, 254))).decode()
    other = {"url": signature.replace("+", "-").replace("/", "_"), "short": signature[:84]}
    wrong = other.get(spelling, spelling.format(signature))
    assert wrong != signature
    with pytest.raises(Malformed):
        promise.promised({**said, "promise": {"key": "k", "signature": wrong}})


@pytest.mark.parametrize(
    "wrong", [None, "x", {}, {"key": "k"}, {"key": 1, "signature": "x"}, {"key": "k", "signature": "x", "more": 1}]
)
def test_what_is_no_promise_is_refused(wrong: object):
    with pytest.raises(Malformed):
        promise.promised({"id": "p", "promise": wrong})
    with pytest.raises(Malformed):
        promise.promised({"id": "p"})
