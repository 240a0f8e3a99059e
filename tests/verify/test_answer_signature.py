import base64
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.prediction_story import API, answer
from wellspring_verify import answer_signature
from wellspring_verify.canonical import MalformedError

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_the_signed_text_is_exactly_this():
    output = {
        "score": 0.75,
        "id": "p",
        "reasons": [{"contribution": -1.5, "description": "é"}],
        "age_seconds": 3,
        "signature": {"key_id": "k"},
    }
    assert answer_signature.signed_text(output).decode() == (
        '{"age_seconds":3,"id":"p","reasons":[{"contribution":"-0x1.8000000000000p+0","description":"é"}],"score":"0x1.8000000000000p-1"}'
    )
    assert answer_signature.answer_digest(output) == hashlib.sha256(answer_signature.signed_text(output)).hexdigest()
    assert answer_signature.compute_key_id(b"\x01" * 32) == hashlib.sha256(b"\x01" * 32).hexdigest()[:16]


@given(FINITE)
def test_a_score_has_one_text_however_it_is_spelled(score: float):
    output = {"id": "p", "score": score}
    assert answer_signature.signed_text(
        answer_signature.parse_answer(json.dumps(output).encode())
    ) == answer_signature.signed_text(output)
    assert answer_signature.signed_text(
        answer_signature.parse_answer(json.dumps(output, indent=3, sort_keys=False).encode())
    ) == answer_signature.signed_text(output)
    assert float.fromhex(answer_signature.float_hex(score)) == score


@given(FINITE, FINITE)
def test_two_scores_have_two_texts(item: float, second: float):
    assert (answer_signature.signed_text({"score": item}) == answer_signature.signed_text({"score": second})) == (
        item == second
    )


def test_what_other_writers_of_json_make_of_a_number_changes_nothing():
    for item, second in ((b"1.0", b"1"), (b"-0.0", b"0"), (b"1e2", b"100")):
        texts = [
            answer_signature.signed_text(answer_signature.parse_answer(b'{"score": %s}' % number))
            for number in (item, second)
        ]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "output",
    [
        {"age_seconds": 1.5}, {"score": "0x1.8p+0"}, {"score": None}, {"score": True}, {"score": [1.0, "x"]},
        {"score": math.nan}, {"contribution": math.inf}, {"score": 10**400}, {"n": 2**60}, {"x": "\ud800"}, {"x": {1,
        2}},
    ],
)  # fmt: skip
def test_what_has_no_one_text_is_refused(output: dict[str, object]):
    with pytest.raises(MalformedError):
        answer_signature.signed_text({"id": "p", **output})


def test_an_answer_nested_too_deeply_is_refused():
    deep: object = 1
    for _ in range(200):
        deep = {"a": [deep]}
    with pytest.raises(MalformedError):
        answer_signature.signed_text({"a": deep})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"1", b"\xff", b"{", b'{"a": NaN}', b'{"a": Infinity}', b'{"id": "p", "id": "q"}',
        b'{"a": {"b": 1, "b": 1}}', b'{"a":' + b"[" * 100_000, b" " * (2**20 + 1) + b"{}",
    ],
)  # fmt: skip
def test_only_one_json_object_is_read(content: bytes):
    with pytest.raises(MalformedError):
        answer_signature.parse_answer(content)


def test_a_signature_is_valid_only_with_its_key():
    output = answer()
    built = answer_signature.read_signature(output)
    assert built.key_id == answer_signature.compute_key_id(API.public)
    assert answer_signature.verify_signature(API.public, built.signature, answer_signature.signed_text(output))
    assert not answer_signature.verify_signature(
        API.public, built.signature, answer_signature.signed_text({**output, "score": 0.5})
    )
    assert not answer_signature.verify_signature(b"\x01" * 32, built.signature, answer_signature.signed_text(output))
    assert not answer_signature.verify_signature(b"short", built.signature, answer_signature.signed_text(output))


@pytest.mark.parametrize("spelling", ["{}\n", " {}", "{}=", "url", "short", "", "é"])
def test_a_signature_is_read_in_its_one_spelling_only(spelling: str):
    output = answer()
    signature = base64.b64encode(bytes(range(190, 254))).decode()
    second = {"url": signature.replace("+", "-").replace("/", "_"), "short": signature[:84]}
    error = second.get(spelling, spelling.format(signature))
    assert error != signature
    with pytest.raises(MalformedError):
        answer_signature.read_signature({**output, "signature": {"key_id": "k", "value": error}})


@pytest.mark.parametrize(
    "error", [None, "x", {}, {"key_id": "k"}, {"key_id": 1, "value": "x"}, {"key_id": "k", "value": "x", "more": 1}]
)
def test_a_malformed_signature_is_refused(error: object):
    with pytest.raises(MalformedError):
        answer_signature.read_signature({"id": "p", "signature": error})
    with pytest.raises(MalformedError):
        answer_signature.read_signature({"id": "p"})
